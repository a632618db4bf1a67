-- Where the positions of a batch already are.
INSERT INTO present
SELECT DISTINCT '{{ place }}', partition, offset FROM {{ table }}
WHERE source_id = {source_id:String} AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8}
    AND ({{ ranges }})
