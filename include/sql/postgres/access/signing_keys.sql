-- The keys that access tokens are signed with, the newest first, and their ages in seconds.
SELECT key_id, sealed_key, extract(EPOCH FROM clock_timestamp() - created_at)::float8 AS age
FROM signing_keys
ORDER BY created_at DESC, key_id
