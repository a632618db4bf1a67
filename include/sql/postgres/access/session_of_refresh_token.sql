-- The session of a refresh token, used or not.
SELECT session_id, user_name, ended_at IS NULL AS is_open, used_at IS NOT NULL AS is_used
FROM refresh_tokens
JOIN sessions USING (session_id)
WHERE digest = %(digest)s
