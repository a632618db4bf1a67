-- Add a signing key, unless another process added one in the last minute; drop those whose tokens
-- are all over.
WITH dropped AS (
    DELETE FROM signing_keys
    WHERE created_at < clock_timestamp() - make_interval(secs => %(keep_seconds)s)
)
INSERT INTO signing_keys (key_id, sealed_key)
SELECT %(key_id)s, %(sealed_key)s
WHERE NOT EXISTS (
    SELECT FROM signing_keys WHERE created_at > clock_timestamp() - INTERVAL '1 minute'
)
