INSERT INTO finished_builds (built_through) VALUES (fromUnixTimestamp64Milli({moment:Int64}, 'UTC'))
