{% import 'clickhouse/contract/event.sql.jinja' as event %}
-- The gate reads every message once. The guard refuses a message lost or doubled on the wire.
INSERT INTO staged (
    topic, topic_incarnation, partition, offset, kafka_timestamp,
    {{ event.names(columns) }},
    failures, warnings
)
SELECT
    topic, topic_incarnation, partition, offset, kafka_timestamp,
    {{ event.names(columns) }},
    failures, warnings
FROM (
{{ gate }}
)
WHERE NOT throwIf(
    (SELECT count() FROM incoming) != {message_count:UInt64}, 'millrace: incoming is not as sent'
)
