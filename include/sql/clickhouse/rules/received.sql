{# Messages of a source as they were received, for a trial. #}
SELECT topic, topic_incarnation, partition, offset, kafka_timestamp, key, value, headers,
    ingested_at
FROM raw_events
WHERE
    source_id = {source_id:String}
    AND ingested_at >= {start:DateTime64(3, 'UTC')}
    AND ingested_at < {end:DateTime64(3, 'UTC')}
