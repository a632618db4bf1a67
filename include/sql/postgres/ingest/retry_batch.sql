UPDATE ingest_batches
SET attempts = attempts + 1, owner = %(owner)s, generation = generation + %(rewrite)s
WHERE batch_id = %(batch_id)s AND state = 'claimed' AND attempts = %(attempts)s
RETURNING attempts, generation
