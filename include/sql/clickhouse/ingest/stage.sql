{% import 'clickhouse/contract/event.sql.jinja' as event %}
-- The gate reads every message once. The guard refuses a message lost or doubled on the wire; it is
-- a scalar, so that it is asked also where all are lost and there is no row to ask it of.
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
WHERE (
    SELECT throwIf(count() != {message_count:UInt64}, 'millrace: incoming is not as sent')
    FROM incoming
) = 0
