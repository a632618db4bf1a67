{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- Event types that came without being registered, newest window.
SELECT
    leftUTF8(JSONExtractString(value, 'event'), 1000) AS event_type,
    count() AS occurrences,
    groupArray(3)(leftUTF8(value, 500)) AS examples,
    min(rejected_at) AS first_seen_at,
    max(rejected_at) AS last_seen_at
FROM rejected_events
WHERE
    rejected_at >= {start:DateTime64(3, 'UTC')} AND rejected_at < {end:DateTime64(3, 'UTC')}
    AND arrayExists(label -> {{ failure.has_reason('label', "'unknown_event_type'") }}, failures)
GROUP BY event_type
ORDER BY occurrences DESC
LIMIT 100
