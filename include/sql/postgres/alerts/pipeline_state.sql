-- What the ledger knows about the pipeline, as metrics of this moment.
SELECT 'millrace_ingest_freshness_seconds' AS metric_name,
    jsonb_build_object('source_id', s.source_id) AS dimensions,
    extract(epoch FROM clock_timestamp() - max(b.loaded_at))::float8 AS value
FROM data_sources AS s JOIN ingest_batches AS b USING (source_id)
WHERE s.is_active AND b.state = 'loaded'
GROUP BY s.source_id
UNION ALL
SELECT 'millrace_ingest_claimed_batches', jsonb_build_object('source_id', s.source_id),
    count(b.batch_id)::float8
FROM data_sources AS s LEFT JOIN ingest_batches AS b
    ON b.source_id = s.source_id AND b.state = 'claimed'
WHERE s.is_active
GROUP BY s.source_id
UNION ALL
SELECT 'millrace_ingest_oldest_claim_seconds', jsonb_build_object('source_id', s.source_id),
    coalesce(extract(epoch FROM clock_timestamp() - min(b.claimed_at)), 0)::float8
FROM data_sources AS s LEFT JOIN ingest_batches AS b
    ON b.source_id = s.source_id AND b.state = 'claimed'
WHERE s.is_active
GROUP BY s.source_id
UNION ALL
SELECT 'millrace_ingest_events_total', jsonb_build_object('source_id', source_id),
    coalesce(sum(event_count), 0)::float8
FROM ingest_batches WHERE state = 'loaded' GROUP BY source_id
UNION ALL
SELECT 'millrace_ingest_rejected_events_total', jsonb_build_object('source_id', source_id),
    coalesce(sum(rejected_count), 0)::float8
FROM ingest_batches WHERE state = 'loaded' GROUP BY source_id
UNION ALL
SELECT 'millrace_ingest_incidents_total', jsonb_build_object('source_id', source_id, 'kind', kind),
    count(*)::float8
FROM ingest_incidents GROUP BY source_id, kind
UNION ALL
SELECT 'millrace_published_windows_withheld', jsonb_build_object('dataset', dataset),
    count(*) FILTER (WHERE status = 'withheld')::float8
FROM published_windows WHERE window_end > clock_timestamp() - interval '1 day' GROUP BY dataset
UNION ALL
SELECT 'millrace_alert_notifications_waiting', jsonb_build_object('route', route),
    count(*) FILTER (WHERE state = 'waiting')::float8
FROM alert_notifications WHERE created_at > clock_timestamp() - interval '7 days' GROUP BY route
