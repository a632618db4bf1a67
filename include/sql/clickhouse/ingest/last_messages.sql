-- The last messages of ranges as they were received, each with the gate's first reason against it.
SELECT message.kafka_timestamp AS received_at, value, reason, field, rule, detail
FROM (
    SELECT topic, topic_incarnation, partition, offset, kafka_timestamp, value
    FROM raw_events
    WHERE source_id = {source_id:String} AND topic = {topic:String} AND ({{ within }})
    ORDER BY kafka_timestamp DESC, offset DESC
    LIMIT {most:UInt32}
) AS message
LEFT JOIN (
    SELECT topic, topic_incarnation, partition, offset, reason, field, rule, detail
    FROM rejected_events
    WHERE source_id = {source_id:String} AND topic = {topic:String} AND ({{ within }})
) AS verdict USING (topic, topic_incarnation, partition, offset)
ORDER BY message.kafka_timestamp, message.offset
