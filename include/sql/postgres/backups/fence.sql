-- Own every partition while the warehouse is replaced: live workers lose theirs, plans wait.
UPDATE ingest_positions
SET
    owner = %(owner)s, epoch = epoch + 1,
    lease_until = clock_timestamp() + interval '1 day', updated_at = clock_timestamp()
