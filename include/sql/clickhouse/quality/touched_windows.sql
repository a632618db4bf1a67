-- Starts of the windows whose events changed, and when that was last: late ones came, or their day was
-- rebuilt. Late events are found by when they came, so the cost is in proportion to them.
SELECT window_start, max(changed_at) AS last_changed_at
FROM (
    SELECT
        toUInt32(intDiv(toUnixTimestamp(event_time), {seconds:UInt32}) * {seconds:UInt32})
            AS window_start,
        max(ingested_at) AS changed_at
    FROM events
    WHERE ingested_at >= {since:DateTime64(3, 'UTC')} AND ingested_at < {until:DateTime64(3, 'UTC')}
    GROUP BY window_start
    UNION ALL
    SELECT
        toUInt32(intDiv(toUnixTimestamp(toDateTime(day, 'UTC')) + second, {seconds:UInt32}) * {seconds:UInt32})
            AS window_start,
        last_rebuilt_at
    FROM (
        SELECT day, max(rebuilt_at) AS last_rebuilt_at
        FROM rebuilt_days
        WHERE rebuilt_at >= {since:DateTime64(3, 'UTC')}
        GROUP BY day
    )
    ARRAY JOIN range(0, 86400, {seconds:UInt32}) AS second
)
GROUP BY window_start
