{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- A message of another day is judged anew only if it is an event of this one.
INSERT INTO {{ rejected_shadow }} (
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    reason, field, rule, failures, detail, batch_id, rejected_at
)
SELECT
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    splitByChar('|', failures[1])[1], splitByChar('|', failures[1])[2],
    splitByChar('|', failures[1])[3], failures, '', batch_id, ingested_at
FROM judged
WHERE notEmpty(failures) AND (
    toDate(kafka_timestamp) = {day:Date}
    OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere WHERE is_event)
)
