-- When the oldest micro-batch that is open was claimed; now, if none is.
SELECT coalesce(min(claimed_at), clock_timestamp()) AS moment
FROM ingest_batches
WHERE state = 'claimed'
