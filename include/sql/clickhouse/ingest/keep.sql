{# Keep the messages of a micro-batch as they were received. #}
INSERT INTO raw_events (
    source_id, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    batch_id, ingested_at
)
SELECT
    {source_id:String}, topic, topic_incarnation, partition, offset, kafka_timestamp, key, value,
    headers, {batch_id:UInt64}, {claimed_at:DateTime64(3, 'UTC')}
FROM incoming
WHERE NOT throwIf(now64(3) > {lease_until:DateTime64(3, 'UTC')}, 'millrace: lease is over')
{% if is_rewrite %}
    AND (partition, offset) NOT IN (SELECT partition, offset FROM present WHERE place = 'raw')
{% endif %}
