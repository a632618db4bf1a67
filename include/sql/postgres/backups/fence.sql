-- Own every partition while a restore reads: live workers lose theirs, plans wait.
UPDATE ingest_positions
SET
    owner = %(owner)s, epoch = epoch + 1,
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    updated_at = clock_timestamp()
