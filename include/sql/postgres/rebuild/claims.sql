-- The micro-batches that a range came in, as far as the ledger remembers.
SELECT r.partition, r.first_offset, r.next_offset, r.batch_id, b.claimed_at
FROM ingest_ranges AS r
INNER JOIN ingest_batches AS b USING (batch_id)
WHERE r.source_id = %(source_id)s AND r.topic = %(topic)s
    AND r.topic_incarnation = %(incarnation)s AND r.partition = %(partition)s
    AND int8range(r.first_offset, r.next_offset) && int8range(%(first)s, %(next)s)
