-- Ask whether the server misses rows of the last second before a bound that is a DateTime.
CREATE TEMPORARY TABLE last_second (at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY at
;
INSERT INTO last_second SELECT toDateTime64('2026-11-25 12:59:59.999', 3, 'UTC')
;
SELECT count() FROM last_second WHERE at < toDateTime('2026-11-25 13:00:00', 'UTC')
