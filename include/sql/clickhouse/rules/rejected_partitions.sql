{# Partitions of a topic that have rejected messages. #}
SELECT DISTINCT partition FROM rejected_events
WHERE source_id = {source_id:String}
    AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8}
ORDER BY partition
