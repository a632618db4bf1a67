-- Every offset before next_offset was in the warehouse; claimed batches were not, or not wholly.
SELECT
    p.source_id, p.topic, p.topic_id, p.topic_incarnation, p.partition,
    coalesce(min(r.first_offset) FILTER (WHERE b.state = 'claimed'), p.next_offset) AS next_offset,
    p.next_offset AS claimed_offset
FROM ingest_positions AS p
LEFT JOIN ingest_ranges AS r
    ON
        r.source_id = p.source_id AND r.topic = p.topic AND r.partition = p.partition
        AND r.topic_incarnation = p.topic_incarnation
        AND r.batch_id IN (SELECT batch_id FROM ingest_batches WHERE state = 'claimed')
LEFT JOIN ingest_batches AS b ON b.batch_id = r.batch_id
GROUP BY p.source_id, p.topic, p.partition
ORDER BY p.source_id, p.topic, p.partition
