-- How far the archive of PostgreSQL's log reaches.
INSERT INTO wal_archive (archived_lsn)
VALUES ('0/0'::pg_lsn + %s::numeric)
ON CONFLICT (is_the_one) DO UPDATE
SET archived_lsn = excluded.archived_lsn, archived_at = clock_timestamp()
