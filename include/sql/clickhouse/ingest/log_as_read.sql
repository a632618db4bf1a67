-- The messages of a partition's offsets as raw_events kept them, each as it was read last: a log that
-- was cut is read again under a new incarnation.
SELECT offset, kafka_timestamp, key, value FROM raw_events
WHERE source_id = {source_id:String} AND topic = {topic:String} AND partition = {partition:UInt32}
    AND topic_incarnation >= {since:UInt8}
    AND offset >= {first:UInt64} AND offset < {next:UInt64}
ORDER BY offset, topic_incarnation DESC
LIMIT 1 BY offset
