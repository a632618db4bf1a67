-- Whether events or rejections arrived, or days were swapped, since all models were last built, or
-- ever if they never were. The minute allows for clocks that differ.
WITH
    (SELECT max(built_through) FROM finished_builds) AS since,
    (SELECT max(finished_at) FROM finished_builds) AS finished
SELECT
    (SELECT count() FROM (SELECT 1 FROM events WHERE ingested_at >= since LIMIT 1)) > 0
    OR (SELECT count() FROM (SELECT 1 FROM rejected_events WHERE rejected_at >= since LIMIT 1)) > 0
    OR (
        SELECT count() FROM rebuilt_days WHERE rebuilt_at >= finished - INTERVAL 1 MINUTE
    ) > 0
