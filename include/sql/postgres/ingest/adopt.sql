-- Enter micro-batches that only the warehouse remembers. One that may be incomplete stays open, and
-- the ordinary replay completes it.
WITH found AS (
    SELECT * FROM unnest(
        %(batch_ids)s::bigint[], %(claimed)s::timestamptz[], %(partitions)s::integer[],
        %(firsts)s::bigint[], %(nexts)s::bigint[],
        %(messages)s::bigint[], %(events)s::bigint[], %(rejected)s::bigint[], %(complete)s::boolean[]
    ) AS f (
        batch_id, claimed_at, partition, first_offset, next_offset,
        messages, events, rejected, is_complete
    )
), batches AS (
    INSERT INTO ingest_batches (
        batch_id, source_id, gate_id, owner, claimed_at,
        state, loaded_at, message_count, event_count, rejected_count
    )
    SELECT DISTINCT ON (f.batch_id)
        f.batch_id, g.source_id, g.gate_id, %(owner)s, f.claimed_at,
        CASE WHEN f.is_complete THEN 'loaded' ELSE 'claimed' END,
        CASE WHEN f.is_complete THEN clock_timestamp() END,
        CASE WHEN f.is_complete THEN f.messages END,
        CASE WHEN f.is_complete THEN f.events END,
        CASE WHEN f.is_complete THEN f.rejected END
    FROM found AS f, current_gates AS g
    WHERE g.source_id = %(source_id)s
    RETURNING batch_id
), ranges AS (
    INSERT INTO ingest_ranges
    SELECT
        f.batch_id, %(source_id)s, %(topic)s, %(incarnation)s,
        f.partition, f.first_offset, f.next_offset
    FROM found AS f
    JOIN batches USING (batch_id)
    RETURNING partition, next_offset
), moved AS (
    UPDATE ingest_positions AS p
    SET next_offset = r.next_offset, updated_at = clock_timestamp()
    FROM (SELECT partition, max(next_offset) AS next_offset FROM ranges GROUP BY partition) AS r
    WHERE p.source_id = %(source_id)s AND p.topic = %(topic)s AND p.partition = r.partition
)
INSERT INTO ingest_incidents (
    source_id, kind, topic, topic_incarnation, partition, first_offset, next_offset, detail
)
SELECT
    %(source_id)s, 'warehouse_ahead', %(topic)s, %(incarnation)s, f.partition,
    min(f.first_offset), max(f.next_offset),
    count(*) || ' micro-batches known to the warehouse alone were entered into the ledger'
FROM found AS f
GROUP BY f.partition
