-- From which byte on PostgreSQL keeps its log for the archive.
SELECT (restart_lsn - '0/0')::bigint AS kept_from FROM pg_replication_slots WHERE slot_name = %(slot)s
