-- What is exported, as data. `columns` is an ordered list of {name, expression, is_personal}.
CREATE TABLE export_definitions (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]*$'),
    description text NOT NULL,
    relation text NOT NULL,
    columns jsonb NOT NULL CHECK (jsonb_typeof(columns) = 'array'),
    time_column text NOT NULL,
    arrival_column text NOT NULL DEFAULT '',
    order_by text[] NOT NULL,
    schedule text NOT NULL CHECK (schedule IN ('hourly', 'daily', 'on_demand')),
    gate text NOT NULL DEFAULT '',
    format text NOT NULL DEFAULT 'Parquet' CHECK (format IN ('Parquet', 'CSV', 'JSONEachRow')),
    destination text NOT NULL CHECK (destination ~ '^[a-z0-9_]+(/[a-z0-9_]+)*$'),
    personal_data text NOT NULL DEFAULT 'hashed'
        CHECK (personal_data IN ('plain', 'hashed', 'excluded')),
    retention_days integer NOT NULL DEFAULT 90 CHECK (retention_days > 0),
    is_active boolean NOT NULL DEFAULT true
);
COMMENT ON COLUMN export_definitions.arrival_column IS
    'When a row was claimed by ingest; empty for tables that dbt builds';
COMMENT ON COLUMN export_definitions.gate IS
    'Dataset in published_windows that must have passed; empty: needs no gate';

CREATE TABLE export_schemas (
    name text NOT NULL REFERENCES export_definitions ON DELETE CASCADE,
    version integer NOT NULL,
    columns jsonb NOT NULL,
    changes jsonb NOT NULL DEFAULT '{}',
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);

-- Every attempt, also those that were skipped, with the reason.
CREATE TABLE export_runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'running'
        CHECK (state IN ('running', 'published', 'superseded', 'skipped', 'failed')),
    reason text NOT NULL DEFAULT '',
    requested_by text NOT NULL,
    prefix text NOT NULL DEFAULT '',
    snapshot_at timestamptz,
    schema_version integer,
    row_count bigint,
    byte_count bigint,
    content_hash numeric(20),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    objects_deleted_at timestamptz,
    CHECK (window_end > window_start)
);
CREATE INDEX export_runs_window ON export_runs (name, window_start);
COMMENT ON COLUMN export_runs.snapshot_at IS
    'Rows claimed by ingest before this moment are in the files; later ones mean a new export';

-- The one truth of a window: the run whose files its manifest names.
CREATE TABLE exported_windows (
    name text NOT NULL REFERENCES export_definitions ON DELETE CASCADE,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    run_id bigint NOT NULL REFERENCES export_runs,
    PRIMARY KEY (name, window_start, window_end)
);

-- How a person or service may see personal data; who is not listed sees none of it.
CREATE TABLE export_roles (
    user_name text PRIMARY KEY,
    personal_data text NOT NULL CHECK (personal_data IN ('plain', 'hashed', 'excluded'))
);

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON export_definitions
FOR EACH ROW EXECUTE FUNCTION record_audit('name');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON export_roles
FOR EACH ROW EXECUTE FUNCTION record_audit('user_name');
