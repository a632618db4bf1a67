{# Rejected messages by their positions. #}
SELECT topic, topic_incarnation, partition, offset, key, value, headers
FROM rejected_events
WHERE
    source_id = {source_id:String}
    AND (topic, topic_incarnation, partition, offset)
    IN {positions:Array(Tuple(String, UInt8, UInt32, UInt64))}
LIMIT 1 BY topic, topic_incarnation, partition, offset
