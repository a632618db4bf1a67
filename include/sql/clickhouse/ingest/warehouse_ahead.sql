-- Micro-batches beyond what the ledger remembers claiming.
SELECT
    batch_id, partition, min(offset) AS first_offset, max(offset) + 1 AS next_offset,
    count() AS messages, any(ingested_at) AS claimed_at
FROM raw_events
WHERE source_id = {source_id:String} AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8} AND ({{ beyond }})
GROUP BY batch_id, partition
ORDER BY batch_id, partition
