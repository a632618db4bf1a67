{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- A message of another day is judged again only if it is an event of this one.
INSERT INTO {{ rejected_shadow }} (
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    reason, field, rule, failures, detail, batch_id, rejected_at
)
SELECT
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    {{ failure.reason('failures[1]') }},
    {{ failure.field('failures[1]') }}, {{ failure.rule('failures[1]') }}, failures, '', batch_id, ingested_at
FROM judged
WHERE notEmpty(failures) AND (
    toDate(kafka_timestamp) = {day:Date}
    OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere WHERE is_event)
)
AND (partition, offset) NOT IN (SELECT partition, offset FROM erased)
