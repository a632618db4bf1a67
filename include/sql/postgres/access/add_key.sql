-- Add a key. Nothing is added where its name stands already, or its secret was ever known: a key
-- that was revoked is not revived.
INSERT INTO ingest_keys (
    key_id, name, source_id, digest, scopes, allowed_origins, rate_per_second, quota_per_day,
    expires_at
)
VALUES (
    %(key_id)s, %(name)s, %(source_id)s, %(digest)s, %(scopes)s, %(allowed_origins)s,
    %(rate_per_second)s, %(quota_per_day)s, %(expires_at)s
)
ON CONFLICT DO NOTHING
