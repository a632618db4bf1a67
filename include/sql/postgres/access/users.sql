-- Every user, as millrace.access.users knows them, and when they signed in last.
SELECT
    name, role, sources, datasets, issuer, subject, is_active, password_changed_at,
    users.created_at, max(sessions.created_at) AS signed_in_at
FROM users
LEFT JOIN sessions ON sessions.user_name = users.name
GROUP BY users.name
ORDER BY name
