INSERT INTO judged (
    topic, topic_incarnation, partition, offset, kafka_timestamp, event_id, event_time, event_type,
    user_id, page, country, device, properties, device_info, geo_location, failures, warnings,
    source_id, key, value, headers, batch_id, ingested_at
)
{{ gate }}
