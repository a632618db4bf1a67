-- Note up to when everything is published, unless more was noted already.
INSERT INTO published_through (published_through)
SELECT fromUnixTimestamp64Milli({moment:Int64}, 'UTC') AS moment
WHERE moment > (SELECT max(published_through) FROM published_through)
   OR (SELECT count() FROM published_through) = 0
