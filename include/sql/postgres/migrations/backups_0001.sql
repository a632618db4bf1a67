-- The catalogue of backups. Each complete one is also an object beside the backup itself, so that a
-- restore needs nothing but the bucket and the key.
CREATE TABLE backups (
    backup_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('full', 'incremental', 'metadata')),
    base_id text REFERENCES backups,
    state text NOT NULL DEFAULT 'running'
        CHECK (state IN ('running', 'complete', 'failed', 'deleted')),
    requested_by text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    cut_at timestamptz,
    lock_seconds double precision,
    ended_at timestamptz,
    byte_count bigint,
    object_count bigint,
    positions jsonb NOT NULL DEFAULT '[]',
    details jsonb NOT NULL DEFAULT '{}',
    reason text NOT NULL DEFAULT '',
    CHECK ((kind = 'incremental') = (base_id IS NOT NULL))
);
COMMENT ON COLUMN backups.cut_at IS 'The one moment that every table of the backup shows';
COMMENT ON COLUMN backups.lock_seconds IS 'How long publication stood still for the cut';
COMMENT ON COLUMN backups.positions IS
    'Per partition the first offset that was not in the warehouse at the cut';

-- Filled table by table, so that an interrupted backup goes on where it stopped.
CREATE TABLE backup_tables (
    backup_id text NOT NULL REFERENCES backups ON DELETE CASCADE,
    database_name text NOT NULL,
    table_name text NOT NULL,
    row_count bigint NOT NULL,
    content_hash numeric(20) NOT NULL,
    byte_count bigint NOT NULL,
    base_id text,
    PRIMARY KEY (backup_id, database_name, table_name)
);
COMMENT ON COLUMN backup_tables.content_hash IS 'sum(cityHash64(*)) modulo 2^64';

-- One row: how far the write-ahead log has reached the bucket.
CREATE TABLE wal_archive (
    is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    archived_lsn pg_lsn NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE restore_drills (
    drill_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'passed', 'failed')),
    backup_id text,
    metadata_backup_id text,
    rto_seconds double precision,
    metadata_rpo_seconds double precision,
    report jsonb NOT NULL DEFAULT '[]'
);

-- Receipts of erasures on request; a restore of an older backup carries them out again.
CREATE TABLE erasures (
    erasure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id bigint NOT NULL,
    requested_by text NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    completed_at timestamptz,
    receipt jsonb NOT NULL DEFAULT '{}'
);
