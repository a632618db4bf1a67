{# How many messages of some micro-batches raw_events holds. -#}
SELECT batch_id, count() AS messages
FROM raw_events
WHERE topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8}
    AND batch_id BETWEEN {first:UInt64} AND {last:UInt64}
GROUP BY batch_id
