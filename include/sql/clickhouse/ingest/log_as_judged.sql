{% import 'clickhouse/ingest/macros.sql.jinja' as ingest %}
-- When Kafka got the messages of a partition's offsets, as their verdicts tell, which are kept longer
-- than the messages.
SELECT offset, kafka_timestamp FROM (
    SELECT offset, topic_incarnation, received_at AS kafka_timestamp FROM {{ target }}
    WHERE {{ ingest.is_of_log() }}
    UNION ALL
    SELECT offset, topic_incarnation, kafka_timestamp FROM rejected_events
    WHERE {{ ingest.is_of_log() }}
)
ORDER BY offset, topic_incarnation DESC
LIMIT 1 BY offset
