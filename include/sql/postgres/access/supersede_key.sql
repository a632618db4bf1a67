-- Let the key that stands for a name run out, since another takes its place.
UPDATE ingest_keys
SET
    rotated_at = clock_timestamp(),
    expires_at = least(expires_at, clock_timestamp() + make_interval(secs => %(overlap)s))
WHERE name = %(name)s AND rotated_at IS NULL AND revoked_at IS NULL
