-- A selection of rejected events to be sent through the gate again.
CREATE TABLE replays (
    replay_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_id text NOT NULL REFERENCES data_sources,
    criteria jsonb NOT NULL,
    repair jsonb NOT NULL DEFAULT '[]',
    preview jsonb NOT NULL,
    state text NOT NULL DEFAULT 'previewed'
        CHECK (state IN ('previewed', 'claimed', 'sent', 'settled')),
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN replays.criteria IS 'What was selected; its until is fixed, so the selection is';
COMMENT ON COLUMN replays.repair IS 'Transformations that each message went through first';

-- A rejected message is replayed once, whoever asks. One that fails again is a new message, at
-- a new offset, and may be replayed in its turn.
CREATE TABLE replayed_events (
    source_id text NOT NULL,
    topic text NOT NULL,
    topic_incarnation smallint NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    replay_id bigint NOT NULL REFERENCES replays,
    sequence bigint NOT NULL,
    outcome text,
    PRIMARY KEY (source_id, topic, topic_incarnation, partition, "offset"),
    UNIQUE (replay_id, sequence)
);
COMMENT ON COLUMN replayed_events.outcome IS 'accepted, the reason it was rejected for, or null: not yet known';

-- Which fields events of a type have, and what they look like.
CREATE TABLE event_fields (
    event_type text NOT NULL,
    field text NOT NULL,
    value_type text NOT NULL CHECK (value_type IN ('number', 'boolean', 'object', 'array', 'string')),
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_type, field, value_type)
);

-- What came that is not registered.
CREATE TABLE schema_drifts (
    drift_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('new_event_type', 'new_field', 'type_change')),
    event_type text NOT NULL,
    field text NOT NULL DEFAULT '',
    value_type text NOT NULL DEFAULT '',
    occurrences bigint NOT NULL,
    examples jsonb NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    registered_at timestamptz,
    UNIQUE (kind, event_type, field, value_type)
);
-- What is usual for the field of an outlier rule, by event type and hour of the week.
CREATE TABLE rule_baselines (
    rule_name text PRIMARY KEY,
    baselines jsonb NOT NULL,
    computed_at timestamptz NOT NULL DEFAULT now()
);

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON replays
FOR EACH ROW EXECUTE FUNCTION record_audit('replay_id');
