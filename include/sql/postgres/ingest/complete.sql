{# A micro-batch is loaded. #}
UPDATE ingest_batches
SET state = 'loaded', loaded_at = clock_timestamp(), message_count = %(message_count)s,
    event_count = %(event_count)s, rejected_count = %(rejected_count)s, byte_count = %(byte_count)s
WHERE batch_id = %(batch_id)s AND state = 'claimed' AND owner = %(owner)s
    AND attempts = %(attempts)s AND generation = %(generation)s
RETURNING batch_id
