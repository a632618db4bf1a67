INSERT INTO {{ shadow }} (
    event_id, event_time, event_type, user_id, page, country, device, properties, device_info,
    geo_location, warnings, received_at, ingested_at, source_id, topic, topic_incarnation,
    partition, offset, batch_id
)
SELECT
    event_id, event_time, event_type, user_id, page,
{% if enrich %}
    if(country = '', dictGetOrDefault('user_profiles', 'country', user_id, ''), country::String),
{% else %}
    country,
{% endif %}
    device, properties, device_info, geo_location, warnings, kafka_timestamp, ingested_at,
    source_id, topic, topic_incarnation, partition, offset, batch_id
FROM judged
WHERE empty(failures) AND toDate(event_time) = {day:Date}
