-- Go on behind offsets that Kafka no longer has; the caller records what was lost.
UPDATE ingest_positions
SET next_offset = %(next_offset)s, topic_incarnation = %(incarnation)s, topic_id = %(topic_id)s,
    updated_at = clock_timestamp()
WHERE source_id = %(source_id)s AND topic = %(topic)s AND partition = %(partition)s
    AND next_offset = %(first_offset)s AND owner = %(owner)s
RETURNING partition
