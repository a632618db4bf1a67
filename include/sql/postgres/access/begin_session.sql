-- Begin a session, and forget those that are long over.
WITH over AS (
    DELETE FROM sessions
    WHERE expires_at < now() - INTERVAL '1 day' OR ended_at < now() - INTERVAL '90 days'
)
INSERT INTO sessions (session_id, user_name, address, client, expires_at)
VALUES (
    %(session_id)s, %(name)s, %(address)s, %(client)s,
    clock_timestamp() + make_interval(secs => %(seconds)s)
)
