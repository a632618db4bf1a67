-- Where the log ends now: its timeline, and the position in bytes. A base backup ended before.
SELECT
    (pg_current_wal_lsn() - '0/0')::bigint AS position,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline
