-- Loaded claims of a partition that reach into a run of offsets, and how many messages each
-- micro-batch had, over all its partitions.
SELECT r.batch_id, r.first_offset, r.next_offset, b.message_count
FROM ingest_ranges AS r
JOIN ingest_batches AS b USING (batch_id)
WHERE r.topic = %(topic)s AND r.topic_incarnation = %(incarnation)s AND r.partition = %(partition)s
    AND r.first_offset < %(after)s AND r.next_offset > %(first)s AND b.state = 'loaded'
