-- How far each partition is judged without a gap: the first offset of its oldest open batch, else
-- the first that no batch has claimed.
SELECT
    p.topic, p.topic_incarnation, p.partition,
    coalesce(min(r.first_offset) FILTER (WHERE b.state = 'claimed'), p.next_offset)
        AS judged_offset
FROM ingest_positions AS p
LEFT JOIN ingest_batches AS b ON b.source_id = p.source_id AND b.state = 'claimed'
LEFT JOIN ingest_ranges AS r
    ON r.batch_id = b.batch_id AND r.topic = p.topic AND r.partition = p.partition
    AND r.topic_incarnation = p.topic_incarnation
WHERE p.source_id = %s
GROUP BY p.source_id, p.topic, p.partition, p.topic_incarnation, p.next_offset
ORDER BY p.topic, p.partition
