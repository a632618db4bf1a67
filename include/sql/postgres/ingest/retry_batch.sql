{# Take a micro-batch up again, in a new generation if it is to be written otherwise. #}
UPDATE ingest_batches
SET attempts = attempts + 1, owner = %(owner)s, generation = generation + %(rewrite)s,
    views = CASE WHEN %(rewrite)s = 1 THEN '' ELSE views END
WHERE batch_id = %(batch_id)s AND state = 'claimed' AND attempts = %(attempts)s
RETURNING attempts, generation, views
