{% import 'clickhouse/ingest/macros.sql.jinja' as ingest %}
-- Where the last message of a partition's offsets is that raw_events kept. What was read again after
-- a cut is behind it; in the order of the table's key, so that only its end is read.
SELECT offset FROM raw_events
WHERE {{ ingest.is_of_log() }}
ORDER BY topic_incarnation DESC, offset DESC
LIMIT 1
