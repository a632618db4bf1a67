{% import 'clickhouse/contract/event.sql.jinja' as event %}
-- Messages of the slice that are events of the day.
INSERT INTO {{ shadow }} (
    {{ event.names(columns) }},
    warnings, received_at, ingested_at, source_id, topic, topic_incarnation,
    partition, offset, batch_id
)
SELECT
    {{ event.published(columns, enrich) }},
    warnings, kafka_timestamp, ingested_at,
    source_id, topic, topic_incarnation, partition, offset, batch_id
FROM judged
WHERE empty(failures) AND toDate(event_time) = {day:Date}
AND (partition, offset) NOT IN (SELECT partition, offset FROM erased)
