-- How many messages were loaded that came on the day; nothing once the ledger has forgotten it.
SELECT coalesce(sum(message_count), 0)::bigint AS messages
FROM ingest_batches
WHERE source_id = ANY(%(sources)s) AND state = 'loaded' AND batch_id <= %(last_batch)s
    AND NOT batch_id = ANY(%(open_batches)s)
    AND (claimed_at AT TIME ZONE 'UTC')::date = %(day)s
