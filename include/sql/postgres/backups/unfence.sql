UPDATE ingest_positions
SET owner = '', lease_until = 'epoch', updated_at = clock_timestamp()
WHERE owner = %(owner)s
