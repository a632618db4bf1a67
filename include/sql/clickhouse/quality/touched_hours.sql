-- Hours that rows ingested in a span of time, or a rebuild, changed: those in which Kafka got them,
-- which metrics are of, and those in which they happened, which anomalies are of.
SELECT DISTINCT arrayJoin([toStartOfHour(received_at), toStartOfHour(event_time)]) AS hour
FROM events
WHERE
    (ingested_at >= {since:DateTime64(3, 'UTC')} AND ingested_at < {until:DateTime64(3, 'UTC')})
    OR toDate(event_time) IN (
        SELECT day FROM rebuilt_days WHERE rebuilt_at >= {since:DateTime64(3, 'UTC')}
    )
UNION DISTINCT
SELECT toStartOfHour(kafka_timestamp)
FROM rejected_events
WHERE rejected_at >= {since:DateTime64(3, 'UTC')} AND rejected_at < {until:DateTime64(3, 'UTC')}
