{# How far each partition of a topic is claimed. #}
SELECT partition, topic_id, topic_incarnation, next_offset
FROM ingest_positions
WHERE source_id = %(source_id)s AND topic = %(topic)s
ORDER BY partition
