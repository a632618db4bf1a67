{# Rejected messages of a partition that are to be relayed. #}
SELECT offset, key, value, headers, reason, failures
FROM rejected_events
WHERE
    source_id = {source_id:String}
    AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8}
    AND partition = {partition:UInt32}
    AND offset >= {first:UInt64}
    AND offset < {next:UInt64}
ORDER BY offset
