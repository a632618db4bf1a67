-- Micro-batches that stood half published at a backup's cut: the restored tables don't know their
-- tokens, so they are repeated under new ones, which leave out what is there.
UPDATE ingest_batches SET generation = generation + 1, views = ''
WHERE batch_id = ANY(%(batches)s) AND state = 'claimed'
