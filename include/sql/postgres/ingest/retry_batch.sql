-- Take an open micro-batch once more; a new generation of its tokens was published by nobody yet.
UPDATE ingest_batches
SET attempts = attempts + 1, owner = %(owner)s, generation = %(generation)s,
    views = CASE WHEN generation = %(generation)s THEN views ELSE '' END
WHERE batch_id = %(batch_id)s AND state = 'claimed' AND attempts = %(attempts)s
RETURNING attempts, generation, views
