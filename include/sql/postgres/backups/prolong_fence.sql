-- Own for longer what a restore owns.
UPDATE ingest_positions
SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
WHERE owner = %(owner)s
