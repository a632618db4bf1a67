-- End a session.
UPDATE sessions SET ended_at = clock_timestamp(), ended_because = %(because)s
WHERE session_id = %(session_id)s AND ended_at IS NULL
