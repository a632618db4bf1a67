-- Starts of the windows whose events changed: late ones came, or their day was rebuilt. Late events
-- are found by when they came, so the cost is in proportion to them, not to the past.
SELECT DISTINCT intDiv(toUnixTimestamp(event_time), {seconds:UInt32}) * {seconds:UInt32}
FROM events
WHERE
    ingested_at >= {since:DateTime64(3, 'UTC')}
    AND ingested_at < {until:DateTime64(3, 'UTC')}
UNION DISTINCT
SELECT
    toUInt32(intDiv(toUnixTimestamp(toDateTime(day, 'UTC')) + second, {seconds:UInt32}) * {seconds:UInt32})
FROM (SELECT DISTINCT day FROM rebuilt_days WHERE rebuilt_at >= {since:DateTime64(3, 'UTC')})
ARRAY JOIN range(0, 86400, {seconds:UInt32}) AS second
