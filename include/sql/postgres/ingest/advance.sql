-- Move the positions over the claimed ranges; a row that does not come back was lost to a successor.
UPDATE ingest_positions AS p
SET next_offset = r.next_offset, updated_at = clock_timestamp(),
    reached_at = coalesce(r.reached_at, p.reached_at)
FROM unnest(
    %(partitions)s::integer[], %(firsts)s::bigint[], %(nexts)s::bigint[],
    %(epochs)s::bigint[], %(reached)s::timestamptz[]
) AS r (partition, first_offset, next_offset, epoch, reached_at)
WHERE p.source_id = %(source_id)s AND p.topic = %(topic)s AND p.partition = r.partition
    AND p.next_offset = r.first_offset AND p.owner = %(owner)s AND p.epoch = r.epoch
    AND p.lease_until > clock_timestamp()
RETURNING p.partition, p.topic_incarnation
