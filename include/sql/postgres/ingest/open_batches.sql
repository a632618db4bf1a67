{# Micro-batches that are claimed and not loaded. #}
SELECT
    b.batch_id, b.gate_id, b.generation, b.attempts, b.claimed_at, b.views, r.topic, r.topic_incarnation,
    array_agg(r.partition ORDER BY r.partition) AS partitions,
    array_agg(r.first_offset ORDER BY r.partition) AS firsts,
    array_agg(r.next_offset ORDER BY r.partition) AS nexts
FROM ingest_batches AS b
JOIN ingest_ranges AS r USING (batch_id)
WHERE b.source_id = %(source_id)s AND b.state = 'claimed'
GROUP BY b.batch_id, r.topic, r.topic_incarnation
ORDER BY b.batch_id
