CREATE EXTENSION IF NOT EXISTS btree_gist;

-- Who changed what. Filled by triggers, so that no writer can forget.
CREATE TABLE audit_logs (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL,
    row_key text NOT NULL,
    action text NOT NULL CHECK (action IN ('INSERT', 'UPDATE', 'DELETE')),
    old_value jsonb,
    new_value jsonb,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX audit_logs_row ON audit_logs (table_name, row_key, changed_at);

-- CREATE TRIGGER … EXECUTE FUNCTION record_audit('<key column>'); the actor is the session's
-- setting millrace.actor where one is set, else the database user.
CREATE FUNCTION record_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
BEGIN
    IF TG_OP = 'UPDATE' AND before = after THEN
        RETURN NULL;
    END IF;
    INSERT INTO audit_logs (table_name, row_key, action, old_value, new_value, changed_by)
    VALUES (
        TG_TABLE_NAME, coalesce(after, before) ->> TG_ARGV[0], TG_OP, before, after,
        coalesce(nullif(current_setting('millrace.actor', true), ''), current_user)
    );
    RETURN NULL;
END $$;

CREATE TABLE event_types (
    event_type text PRIMARY KEY CHECK (event_type <> ''),
    description text NOT NULL,
    owner text NOT NULL DEFAULT 'data-engineering',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE data_sources (
    source_id text PRIMARY KEY CHECK (source_id ~ '^[a-z][a-z0-9_]*$'),
    source_number smallint GENERATED ALWAYS AS IDENTITY UNIQUE
        CHECK (source_number BETWEEN 1 AND 255),
    description text NOT NULL,
    kind text NOT NULL DEFAULT 'kafka' CHECK (kind IN ('kafka')),
    topic text NOT NULL UNIQUE,
    dead_letter_topic text NOT NULL,
    target_table text NOT NULL DEFAULT 'events' CHECK (target_table ~ '^[a-z][a-z0-9_]*$'),
    config jsonb NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN data_sources.source_number IS
    'Stands for the source in a position of the register of event ids';
COMMENT ON COLUMN data_sources.config IS
    'Extra consumer settings (as an object "consumer") and the names that this source gives to the contract''s fields';

CREATE TABLE processing_rules (
    rule_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9_]*$'),
    rule_type text NOT NULL CHECK (rule_type IN ('validation', 'transformation', 'aggregation')),
    source_id text REFERENCES data_sources,
    event_type text,
    mode text NOT NULL DEFAULT 'enforce' CHECK (mode IN ('enforce', 'warn', 'shadow')),
    priority integer NOT NULL DEFAULT 100,
    config jsonb NOT NULL,
    version integer NOT NULL DEFAULT 1,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN processing_rules.source_id IS 'The source it holds for; null: every source';
COMMENT ON COLUMN processing_rules.event_type IS 'The event type it holds for; null: every type';

CREATE TABLE user_profiles (
    user_id bigint PRIMARY KEY CHECK (user_id > 0),
    country text NOT NULL DEFAULT '',
    plan text NOT NULL DEFAULT '',
    signed_up_at timestamptz,
    attributes jsonb NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- The rules of a source compiled to SQL. A micro-batch names the gate it went through, so that a
-- replay of its range is judged by the same statement.
CREATE TABLE gates (
    gate_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id text NOT NULL REFERENCES data_sources,
    statement text NOT NULL,
    fingerprint text NOT NULL,
    rules jsonb NOT NULL,
    compiled_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source_id, fingerprint)
);
COMMENT ON COLUMN gates.rules IS 'The rules, with their versions, that the statement was made of';
CREATE TABLE current_gates (
    source_id text PRIMARY KEY REFERENCES data_sources,
    gate_id bigint NOT NULL REFERENCES gates,
    activated_at timestamptz NOT NULL DEFAULT now()
);

-- The ingest ledger. A partition's position and its owner; `epoch` grows with every change of
-- owner and fences the one before.
CREATE TABLE ingest_positions (
    source_id text NOT NULL REFERENCES data_sources,
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition BETWEEN 0 AND 65535),
    topic_id text NOT NULL,
    topic_incarnation smallint NOT NULL DEFAULT 0 CHECK (topic_incarnation BETWEEN 0 AND 255),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    reached_at timestamptz,
    epoch bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    lease_until timestamptz NOT NULL DEFAULT 'epoch',
    planned_at timestamptz NOT NULL DEFAULT 'epoch',
    successor_planned_at timestamptz NOT NULL DEFAULT 'epoch',
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, topic, partition)
);
COMMENT ON COLUMN ingest_positions.topic_id IS 'Kafka''s own UUID of the topic: tells a new one';
COMMENT ON COLUMN ingest_positions.next_offset IS 'First offset that no micro-batch has claimed';
COMMENT ON COLUMN ingest_positions.reached_at IS 'Kafka''s timestamp of the last message claimed';
COMMENT ON COLUMN ingest_positions.owner IS 'run/task/try of the worker; empty: handed over';
COMMENT ON COLUMN ingest_positions.planned_at IS 'The plan under which it was taken last';
COMMENT ON COLUMN ingest_positions.successor_planned_at IS 'A later plan whose worker waits for it';

-- A micro-batch: at most one range per partition, claimed together, replayed together.
CREATE TABLE ingest_batches (
    batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id text NOT NULL REFERENCES data_sources,
    gate_id bigint NOT NULL REFERENCES gates,
    generation integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'claimed' CHECK (state IN ('claimed', 'loaded')),
    owner text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    claimed_at timestamptz(3) NOT NULL DEFAULT clock_timestamp(),
    loaded_at timestamptz,
    message_count bigint,
    event_count bigint,
    rejected_count bigint,
    byte_count bigint,
    CHECK ((state = 'loaded') = (loaded_at IS NOT NULL))
);
CREATE INDEX ingest_batches_recent ON ingest_batches (source_id, batch_id);
CREATE INDEX ingest_batches_open ON ingest_batches (source_id) WHERE state = 'claimed';
CREATE INDEX ingest_batches_loaded ON ingest_batches (loaded_at);
COMMENT ON COLUMN ingest_batches.generation IS 'Part of the insert token; grows when a range is loaded anew on purpose';

CREATE TABLE ingest_ranges (
    batch_id bigint NOT NULL REFERENCES ingest_batches ON DELETE CASCADE,
    source_id text NOT NULL,
    topic text NOT NULL,
    topic_incarnation smallint NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL CHECK (first_offset >= 0),
    next_offset bigint NOT NULL,
    PRIMARY KEY (batch_id, topic, partition),
    CHECK (next_offset > first_offset),
    -- Claims can't overlap, whatever a worker believes.
    EXCLUDE USING gist (
        source_id WITH =, topic WITH =, topic_incarnation WITH =, partition WITH =,
        int8range(first_offset, next_offset) WITH &&
    )
);

-- What ingest found that a person must know: data loss with its exact offsets, a topic made anew.
CREATE TABLE ingest_incidents (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id text NOT NULL REFERENCES data_sources,
    kind text NOT NULL CHECK (kind IN (
        'data_loss', 'topic_recreated', 'topic_truncated', 'partitions_added',
        'warehouse_ahead', 'warehouse_behind', 'rollups_unproven'
    )),
    topic text NOT NULL,
    topic_incarnation smallint NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    detail text NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now()
);

-- The register of event ids in ClickHouse (one table for every source). Its sentinel row holds
-- `instance`: another value, or none, says that the register was lost and must be filled anew.
CREATE TABLE ingest_register (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    instance bigint NOT NULL DEFAULT 1,
    horizon timestamptz NOT NULL DEFAULT 'epoch',
    filled_at timestamptz,
    expired_at timestamptz
);
INSERT INTO ingest_register DEFAULT VALUES;
COMMENT ON COLUMN ingest_register.horizon IS 'Ids that arrived before it are no longer held';

-- Which window of which dataset passed its audit. Exports, alerts and published marts wait for it.
CREATE TABLE published_windows (
    dataset text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    status text NOT NULL CHECK (status IN ('published', 'withheld')),
    reason text NOT NULL DEFAULT '',
    checked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (dataset, window_start, window_end),
    CHECK (window_end > window_start)
);

-- The times that are published: covered by windows that passed, and by none that is withheld. In
-- seconds since 1970, both ends inclusive, as ClickHouse's dictionary of the same name reads them.
CREATE VIEW published_ranges AS
SELECT
    dataset,
    extract(epoch FROM lower(published))::bigint AS first_second,
    extract(epoch FROM upper(published))::bigint - 1 AS last_second,
    1 AS is_published
FROM (
    SELECT dataset, unnest(
        coalesce(range_agg(span) FILTER (WHERE status = 'published'), '{}')
        - coalesce(range_agg(span) FILTER (WHERE status = 'withheld'), '{}')
    ) AS published
    FROM (SELECT dataset, status, tstzrange(window_start, window_end) AS span FROM published_windows)
        AS windows
    GROUP BY dataset
) AS ranges;

DO $$
DECLARE
    audited text[][] := ARRAY[
        ['event_types', 'event_type'], ['data_sources', 'source_id'],
        ['processing_rules', 'name'], ['user_profiles', 'user_id']
    ];
    pair text[];
BEGIN
    FOREACH pair SLICE 1 IN ARRAY audited LOOP
        EXECUTE format(
            'CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON %I '
            'FOR EACH ROW EXECUTE FUNCTION record_audit(%L)', pair[1], pair[2]
        );
    END LOOP;
END $$;
