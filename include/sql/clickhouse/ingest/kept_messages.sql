-- The messages of ranges as raw_events kept them.
SELECT partition, offset, kafka_timestamp, key, value, headers FROM raw_events
WHERE source_id = {source_id:String} AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8}
    AND ({{ ranges }})
ORDER BY partition, offset
