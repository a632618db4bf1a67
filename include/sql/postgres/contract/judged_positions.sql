-- How far each partition is judged without a gap: the first offset of its oldest open batch, else
-- the first that no batch has claimed.
SELECT
    p.source_id, p.topic, p.topic_id, p.topic_incarnation, p.partition,
    coalesce(min(r.first_offset), p.next_offset) AS judged_offset,
    p.next_offset AS claimed_offset, p.reached_at
FROM ingest_positions AS p
LEFT JOIN ingest_ranges AS r
    ON
        r.source_id = p.source_id AND r.topic = p.topic AND r.partition = p.partition
        AND r.topic_incarnation = p.topic_incarnation
        AND r.batch_id IN (SELECT batch_id FROM ingest_batches WHERE state = 'claimed')
WHERE %(source_id)s::text IS NULL OR p.source_id = %(source_id)s
GROUP BY p.source_id, p.topic, p.partition
ORDER BY p.source_id, p.topic, p.partition
