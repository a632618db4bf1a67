-- Forget loaded batches that are older than anything is checked against.
DELETE FROM ingest_batches
WHERE state = 'loaded' AND loaded_at < clock_timestamp() - make_interval(days => %(days)s)
