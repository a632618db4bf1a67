-- Add the refresh token that a session goes on with.
INSERT INTO refresh_tokens (digest, session_id) VALUES (%(digest)s, %(session_id)s)
