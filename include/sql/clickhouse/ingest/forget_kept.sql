-- Take back what an attempt kept that began before its sender's erasure.
ALTER TABLE raw_events DELETE
WHERE source_id = {source_id:String} AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8}
    AND (partition, offset) IN {places:Array(Tuple(UInt32, UInt64))}
