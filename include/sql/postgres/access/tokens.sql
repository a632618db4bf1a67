-- Every API token, as millrace.access.tokens knows it, and when it was used last.
SELECT
    token_id, name, digest, role, sources, datasets, expires_at, created_at, revoked_at, used_at
FROM api_tokens
LEFT JOIN api_token_usage USING (token_id)
ORDER BY name, created_at, token_id
