-- What a recovery that has just ended reached: the timeline that began, and its last transaction.
SELECT
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int AS timeline,
    pg_last_xact_replay_timestamp() AS moment
