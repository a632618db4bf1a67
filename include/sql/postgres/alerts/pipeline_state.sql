-- What PostgreSQL knows about the pipeline, as metrics of this moment. Incidents are those of the last
-- ten minutes, or since alerts were judged last: one that nobody judged then is told afterwards.
SELECT 'millrace_ingest_messages_total' AS metric_name,
    jsonb_build_object('source_id', source_id) AS dimensions,
    coalesce(sum(message_count), 0)::float8 AS value
FROM ingest_batches WHERE state = 'loaded' GROUP BY source_id
UNION ALL
SELECT 'millrace_ingest_rejected_events_total', jsonb_build_object('source_id', source_id),
    coalesce(sum(rejected_count), 0)::float8
FROM ingest_batches WHERE state = 'loaded' GROUP BY source_id
UNION ALL
SELECT 'millrace_ingest_recent_incidents',
    jsonb_build_object('source_id', source_id, 'kind', kind),
    count(*) FILTER (
        WHERE occurred_at > least(
            clock_timestamp() - interval '10 minutes', (SELECT evaluated_until FROM alert_clock)
        )
    )::float8
FROM ingest_incidents GROUP BY source_id, kind
UNION ALL
SELECT 'millrace_withdrawn_views', jsonb_build_object(
        'view', view, 'rollups', array_to_string(rollups, ', '), 'error', left(error, 300)
    ), 1
FROM withdrawn_views
UNION ALL
SELECT 'millrace_published_windows_withheld', jsonb_build_object('dataset', dataset),
    count(*) FILTER (WHERE status = 'withheld')::float8
FROM published_windows
WHERE checked_at > clock_timestamp() - interval '1 hour' GROUP BY dataset
UNION ALL
SELECT 'millrace_alert_oldest_notification_seconds', jsonb_build_object('route', r.name),
    coalesce(extract(epoch FROM clock_timestamp() - min(n.created_at)), 0)::float8
FROM alert_routes AS r LEFT JOIN alert_notifications AS n
    ON n.route = r.name AND n.state = 'waiting'
WHERE r.is_active GROUP BY r.name
