-- Whether somebody receives the log, and whether the bucket has it: all of it, or what there was
-- some seconds ago.
SELECT
    s.active AS is_received,
    coalesce(
        a.archived_lsn >= pg_current_wal_flush_lsn()
        OR a.archived_at > clock_timestamp() - make_interval(secs => %(seconds)s),
        false
    ) AS is_archived,
    a.archived_at
FROM pg_replication_slots AS s LEFT JOIN wal_archive AS a ON a.is_the_one
WHERE s.slot_name = %(slot)s
