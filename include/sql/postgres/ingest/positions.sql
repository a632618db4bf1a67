{# How far each partition is claimed, and who holds it. #}
SELECT partition, topic_id, topic_incarnation, next_offset, epoch, owner, reached_at, lease_until,
    lease_until > clock_timestamp() AND owner <> '' AS is_held
FROM ingest_positions
WHERE source_id = %(source_id)s AND topic = %(topic)s
ORDER BY partition
