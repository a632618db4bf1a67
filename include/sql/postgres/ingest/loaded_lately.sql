-- Ranges of the micro-batches that were loaded in the last seconds, the latest first.
SELECT
    b.batch_id, b.source_id, b.loaded_at,
    array_agg(jsonb_build_array(r.topic, r.topic_incarnation, r.partition, r.first_offset, r.next_offset))
        AS ranges
FROM ingest_batches AS b
INNER JOIN ingest_ranges AS r USING (batch_id)
WHERE b.state = 'loaded' AND b.loaded_at > clock_timestamp() - make_interval(secs => %(seconds)s)
    AND (%(source_id)s::text IS NULL OR b.source_id = %(source_id)s)
    AND b.batch_id <> ALL (%(seen)s)
GROUP BY b.batch_id, b.source_id, b.loaded_at
ORDER BY b.loaded_at DESC
LIMIT %(most)s
