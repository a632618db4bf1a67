-- Take the partitions that nobody holds: handed over, lease over, or held by a dead predecessor. What
-- a later plan took is out of reach.
UPDATE ingest_positions
SET owner = %(owner)s, epoch = epoch + 1, updated_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    planned_at = %(planned_at)s, successor_planned_at = 'epoch'
WHERE source_id = %(source_id)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
    AND planned_at <= %(planned_at)s
    AND (
        owner = '' OR lease_until < clock_timestamp()
        OR EXISTS (SELECT FROM unnest(%(predecessors)s::text[]) AS p WHERE starts_with(owner, p))
    )
RETURNING partition, epoch, next_offset, topic_id, topic_incarnation, lease_until
