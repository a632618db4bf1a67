-- How far the receiver has the log on its disk, and how far the server has written it, in bytes.
SELECT
    (coalesce(
        (SELECT max(flush_lsn) FROM pg_stat_replication WHERE application_name = 'pg_receivewal'),
        restart_lsn
    ) - '0/0')::bigint AS received,
    (pg_current_wal_flush_lsn() - '0/0')::bigint AS written
FROM pg_replication_slots
WHERE slot_name = %(slot)s
