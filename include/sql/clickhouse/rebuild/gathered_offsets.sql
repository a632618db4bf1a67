SELECT count() FROM {{ gathered }}
WHERE source_id = {source_id:String} AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8} AND partition = {partition:UInt32}
    AND offset >= {first:UInt64} AND offset < {next:UInt64}
