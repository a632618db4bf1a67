-- The register was filled with the ids of what arrived since the horizon.
UPDATE ingest_register
SET
    instance = %(instance)s,
    filled_at = clock_timestamp(),
    horizon = %(horizon)s,
    expired_at = clock_timestamp()
