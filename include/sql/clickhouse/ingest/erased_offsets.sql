-- Offsets that are missing on purpose.
SELECT DISTINCT offset FROM erased_positions
WHERE topic = {topic:String} AND partition = {partition:UInt32} AND topic_incarnation >= {since:UInt8}
    AND offset >= {first:UInt64} AND offset < {next:UInt64}
