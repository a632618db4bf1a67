-- Revoke every key of a name, those that a rotation left to run out too.
UPDATE ingest_keys SET revoked_at = clock_timestamp()
WHERE name = %(name)s AND revoked_at IS NULL
RETURNING digest
