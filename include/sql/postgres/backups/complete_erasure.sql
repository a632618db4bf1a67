-- An order that is carried out, with its receipt.
UPDATE erasures
SET completed_at = clock_timestamp(), receipt = %s
WHERE erasure_id = %s
RETURNING *
