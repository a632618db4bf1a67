-- Order a person to be erased, or begin again what was not completed; what they sent since is in it.
WITH again AS (
    UPDATE erasures
    SET requested_at = clock_timestamp(), requested_by = %(requested_by)s, reason = %(reason)s
    WHERE erasure_id = (
        SELECT max(erasure_id) FROM erasures
        WHERE user_id = %(user_id)s AND completed_at IS NULL
    )
    RETURNING *
),
new AS (
    INSERT INTO erasures (user_id, requested_by, reason, requested_at)
    SELECT %(user_id)s, %(requested_by)s, %(reason)s, clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM again)
    RETURNING *
)
SELECT * FROM again UNION ALL SELECT * FROM new
