{# Claim a micro-batch with the gate in force, and its ranges. #}
WITH batch AS (
    INSERT INTO ingest_batches (source_id, gate_id, owner, generation, views)
    SELECT source_id, gate_id, %(owner)s, %(generation)s, %(views)s FROM current_gates
    WHERE source_id = %(source_id)s
    RETURNING batch_id, gate_id, claimed_at
), ranges AS (
    INSERT INTO ingest_ranges
    SELECT
        batch.batch_id, %(source_id)s, %(topic)s, %(incarnation)s,
        r.partition, r.first_offset, r.next_offset
    FROM batch, unnest(%(partitions)s::integer[], %(firsts)s::bigint[], %(nexts)s::bigint[])
        AS r (partition, first_offset, next_offset)
)
SELECT batch_id, gate_id, claimed_at FROM batch
