-- Hours that rows ingested in a span of time, or a rebuild, changed, and when that was last: those in
-- which Kafka got them, which metrics are of, and those in which they happened, which anomalies are of.
SELECT hour, max(changed_at) AS last_changed_at
FROM (
    SELECT
        arrayJoin([toStartOfHour(received_at), toStartOfHour(event_time)]) AS hour,
        max(ingested_at) AS changed_at
    FROM events
    WHERE ingested_at >= {since:DateTime64(3, 'UTC')} AND ingested_at < {until:DateTime64(3, 'UTC')}
    GROUP BY hour
    UNION ALL
    SELECT
        arrayJoin([toStartOfHour(received_at), toStartOfHour(event_time)]) AS hour,
        max(rebuilt.last_rebuilt_at) AS changed_at
    FROM events
    INNER JOIN (
        SELECT day, max(rebuilt_at) AS last_rebuilt_at
        FROM rebuilt_days
        WHERE rebuilt_at >= {since:DateTime64(3, 'UTC')}
        GROUP BY day
    ) AS rebuilt ON toDate(events.event_time) = rebuilt.day
    GROUP BY hour
    UNION ALL
    SELECT toStartOfHour(kafka_timestamp) AS hour, max(rejected_at) AS changed_at
    FROM rejected_events
    WHERE rejected_at >= {since:DateTime64(3, 'UTC')} AND rejected_at < {until:DateTime64(3, 'UTC')}
    GROUP BY hour
)
GROUP BY hour
