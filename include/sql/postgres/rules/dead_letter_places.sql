{# How far each partition was relayed. #}
SELECT topic, topic_incarnation, partition, next_offset, superseded FROM dead_letter_places
WHERE source_id = %s
