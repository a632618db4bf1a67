-- Use a refresh token, once; return its session, if that may go on.
WITH used AS (
    UPDATE refresh_tokens SET used_at = clock_timestamp()
    WHERE digest = %(digest)s AND used_at IS NULL
    RETURNING session_id, created_at
)
SELECT
    session_id, user_name,
    is_active AND ended_at IS NULL AND expires_at > clock_timestamp()
    AND used.created_at > clock_timestamp() - make_interval(secs => %(idle_seconds)s) AS may_go_on
FROM used
JOIN sessions USING (session_id)
JOIN users ON users.name = sessions.user_name
