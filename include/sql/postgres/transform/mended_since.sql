-- Micro-batches that were written again under new tokens since a moment.
SELECT batch_id FROM ingest_batches
WHERE generation > 0 AND (state = 'claimed' OR loaded_at >= %(hung_at)s)
ORDER BY batch_id LIMIT 5
