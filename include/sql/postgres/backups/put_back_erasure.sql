-- An order that a restore of PostgreSQL took away, or took back to before it was completed.
INSERT INTO erasures (
    erasure_id, user_id, requested_by, reason, requested_at, completed_at, receipt
) OVERRIDING SYSTEM VALUE
VALUES (
    %(erasure_id)s, %(user_id)s, %(requested_by)s, %(reason)s, %(requested_at)s, NULL, %(receipt)s
)
ON CONFLICT (erasure_id) DO UPDATE SET
    user_id = excluded.user_id, requested_at = excluded.requested_at, completed_at = NULL,
    receipt = excluded.receipt
WHERE erasures.requested_at < excluded.requested_at OR erasures.completed_at IS NULL
RETURNING erasure_id
