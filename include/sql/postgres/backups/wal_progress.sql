-- How far the log has come, for people: written by PostgreSQL, received, and in the bucket.
SELECT
    pg_current_wal_flush_lsn()::text AS written,
    coalesce(r.flush_lsn, s.restart_lsn)::text AS received,
    coalesce(r.state, 'no receiver') AS state,
    a.archived_lsn::text AS archived
FROM pg_replication_slots AS s
LEFT JOIN pg_stat_replication AS r ON s.active_pid = r.pid
LEFT JOIN wal_archive AS a ON a.is_the_one
WHERE s.slot_name = %(slot)s
