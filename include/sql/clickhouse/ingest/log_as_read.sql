{% import 'clickhouse/ingest/macros.sql.jinja' as ingest %}
-- The messages of a partition's offsets as raw_events kept them, each as it was read last: a log that
-- was cut is read again under a new incarnation.
SELECT offset, kafka_timestamp, key, value FROM raw_events
WHERE {{ ingest.is_of_log() }}
ORDER BY offset, topic_incarnation DESC
LIMIT 1 BY offset
