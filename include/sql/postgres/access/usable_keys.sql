-- The keys that may be used now, as millrace.access.keys knows them.
SELECT
    key_id, name, source_id, digest, scopes, allowed_origins, rate_per_second, quota_per_day,
    expires_at, created_at, rotated_at, revoked_at
FROM ingest_keys
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
