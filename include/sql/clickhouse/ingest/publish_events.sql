{# Publish the events of a staged micro-batch. #}
{% import 'clickhouse/contract/event.sql.jinja' as event %}
{% from 'clickhouse/ingest/macros.sql.jinja' import has_expired %}
INSERT INTO {{ target }} (
    {{ event.names(columns) }},
    warnings, received_at, ingested_at, source_id, topic, topic_incarnation,
    partition, offset, batch_id
)
SELECT
    {{ event.published(columns, enrich) }},
    warnings, kafka_timestamp,
    {claimed_at:DateTime64(3, 'UTC')}, {source_id:String}, topic, topic_incarnation, partition,
    offset, {batch_id:UInt64}
FROM staged
WHERE NOT throwIf(now64(3) > {lease_until:DateTime64(3, 'UTC')}, 'millrace: lease is over')
{% if has_refused %}
    AND (partition, offset) NOT IN (SELECT partition, offset FROM refused)
{% endif %}
{% if is_rewrite %}
    -- What has expired may have been counted in rollups before it went.
    AND NOT ({{ has_expired('event_time', retention_days) }})
    AND (partition, offset) NOT IN (SELECT partition, offset FROM present WHERE place = 'event')
{% endif %}
