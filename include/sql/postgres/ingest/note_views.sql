{# Note which views the inserts of a micro-batch met. #}
UPDATE ingest_batches SET views = %(views)s
WHERE batch_id = %(batch_id)s AND state = 'claimed' AND owner = %(owner)s
    AND attempts = %(attempts)s
RETURNING batch_id
