-- Earlier incarnations of a source's topic that are judged to the last message and not all relayed.
SELECT p.topic, earlier AS topic_incarnation
FROM (
    SELECT source_id, topic, max(topic_incarnation) AS current FROM ingest_positions
    WHERE source_id = %(source_id)s GROUP BY source_id, topic
) AS p
CROSS JOIN generate_series(0, p.current - 1) AS earlier
WHERE NOT EXISTS (
        SELECT FROM relayed_incarnations AS r
        WHERE r.source_id = p.source_id AND r.topic = p.topic AND r.topic_incarnation = earlier
    )
    AND NOT EXISTS (
        SELECT FROM ingest_ranges AS r JOIN ingest_batches AS b USING (batch_id)
        WHERE b.state = 'claimed' AND b.source_id = p.source_id AND r.topic = p.topic
            AND r.topic_incarnation = earlier
    )
ORDER BY p.topic, earlier
