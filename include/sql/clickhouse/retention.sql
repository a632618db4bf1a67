-- How long tables of messages and events keep a row: the column that counts, and days.
SELECT
    name,
    extract(engine_full, 'TTL toDateTime\\((\\w+)\\) \\+ toIntervalDay\\(\\d+\\)') AS counts_from,
    toUInt32OrZero(
        extract(engine_full, 'TTL toDateTime\\(\\w+\\) \\+ toIntervalDay\\((\\d+)\\)')
    ) AS days
FROM system.tables
WHERE database = {database:String}
    AND counts_from IN ('ingested_at', 'event_time', 'rejected_at')
ORDER BY name
