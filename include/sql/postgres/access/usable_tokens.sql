-- The API tokens that may be used now, as millrace.access.tokens knows them.
SELECT
    token_id, name, digest, role, sources, datasets, expires_at, created_at, revoked_at,
    NULL AS used_at
FROM api_tokens
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
