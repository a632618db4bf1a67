-- Every key, as millrace.access.keys knows it.
SELECT
    key_id, name, source_id, digest, scopes, allowed_origins, rate_per_second, quota_per_day,
    expires_at, created_at, rotated_at, revoked_at
FROM ingest_keys
ORDER BY name, created_at, key_id
