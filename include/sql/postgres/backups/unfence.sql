-- Plans of before are outdated, so that the next one brings ledger and warehouse into line.
UPDATE ingest_positions
SET owner = '', lease_until = 'epoch', planned_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE owner = %(owner)s
