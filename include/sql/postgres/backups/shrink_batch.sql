{# Count what an erasure took out of a micro-batch. #}
UPDATE ingest_batches
SET
    message_count = message_count - %(raw)s,
    event_count = event_count - %(events)s,
    rejected_count = rejected_count - %(rejected)s
WHERE batch_id = %(batch)s AND state = 'loaded'
