-- Load batches again: a new generation, so that no table takes the rewrite for a repeat.
WITH reopened AS (
    UPDATE ingest_batches
    SET state = 'claimed', loaded_at = NULL, generation = generation + 1, attempts = attempts + 1,
        views = '',
        message_count = NULL, event_count = NULL, rejected_count = NULL, byte_count = NULL
    WHERE batch_id = ANY(%(batch_ids)s) AND state = 'loaded'
    RETURNING batch_id
)
INSERT INTO ingest_incidents (
    source_id, kind, topic, topic_incarnation, partition, first_offset, next_offset, detail
)
SELECT
    r.source_id, 'warehouse_behind', r.topic, r.topic_incarnation, r.partition,
    min(r.first_offset), max(r.next_offset),
    count(*) || ' micro-batches that the ledger has as loaded are loaded again'
FROM ingest_ranges AS r
JOIN reopened USING (batch_id)
GROUP BY r.source_id, r.topic, r.topic_incarnation, r.partition
