{# Publish the rejected messages of a staged micro-batch with their reasons. #}
{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
INSERT INTO rejected_events (
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    reason, field, rule, failures, detail, batch_id, rejected_at
)
SELECT
    {source_id:String}, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value,
    headers, {{ failure.reason('failures[1]') }},
    {{ failure.field('failures[1]') }}, {{ failure.rule('failures[1]') }}, failures, detail, {batch_id:UInt64},
    {claimed_at:DateTime64(3, 'UTC')}
FROM incoming
ANY INNER JOIN refused USING (partition, offset)
WHERE NOT throwIf(now64(3) > {lease_until:DateTime64(3, 'UTC')}, 'millrace: lease is over')
{% if is_repeat %}
    AND (partition, offset) NOT IN (SELECT partition, offset FROM present WHERE place = 'rejected')
{% endif %}
