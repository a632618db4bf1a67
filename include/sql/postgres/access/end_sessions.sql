-- End every session of a user.
UPDATE sessions SET ended_at = clock_timestamp(), ended_because = %(because)s
WHERE user_name = %(name)s AND ended_at IS NULL
