{% import 'clickhouse/contract/event.sql.jinja' as event %}
-- A slice of messages through the gate.
INSERT INTO judged (
    topic, topic_incarnation, partition, offset, kafka_timestamp,
    {{ event.names(columns) }},
    failures, warnings,
    source_id, key, value, headers, batch_id, ingested_at
)
{{ gate }}
