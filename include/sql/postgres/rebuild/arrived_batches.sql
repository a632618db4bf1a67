{# Micro-batches that were claimed on the day. #}
SELECT batch_id, message_count AS messages
FROM ingest_batches
WHERE source_id = ANY(%(sources)s) AND state = 'loaded' AND batch_id <= %(last_batch)s
    AND NOT batch_id = ANY(%(open_batches)s)
    AND (claimed_at AT TIME ZONE 'UTC')::date = %(day)s
