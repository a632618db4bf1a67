-- The users who may do anything, with their rights.
SELECT
    name, role, sources, datasets, issuer, subject, is_active, password_changed_at, created_at,
    NULL AS signed_in_at
FROM users
WHERE is_active
