-- A slot that keeps the log from nowhere on: it outran max_slot_wal_keep_size, or nobody has begun.
SELECT pg_drop_replication_slot(slot_name)
FROM pg_replication_slots
WHERE slot_name = %(slot)s AND restart_lsn IS NULL AND NOT active
