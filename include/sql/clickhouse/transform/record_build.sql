-- Note up to when every model was built.
INSERT INTO finished_builds (built_through) VALUES (fromUnixTimestamp64Milli({moment:Int64}, 'UTC'))
