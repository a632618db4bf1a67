-- Where notifications go, and how alerts are grouped on the way.
CREATE TABLE alert_routes (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]*$'),
    kind text NOT NULL CHECK (kind IN ('slack', 'pagerduty', 'webhook', 'email')),
    connection_id text NOT NULL,
    config jsonb NOT NULL DEFAULT '{}',
    group_by text[] NOT NULL DEFAULT '{alertname}',
    group_wait_seconds integer NOT NULL DEFAULT 0 CHECK (group_wait_seconds >= 0),
    group_interval_seconds integer NOT NULL DEFAULT 300 CHECK (group_interval_seconds >= 0),
    repeat_interval_seconds integer NOT NULL DEFAULT 14400 CHECK (repeat_interval_seconds > 0),
    is_active boolean NOT NULL DEFAULT true
);
COMMENT ON COLUMN alert_routes.connection_id IS 'Airflow connection that holds address and secret';
COMMENT ON COLUMN alert_routes.config IS 'slack: channel; email: to; webhook and pagerduty: nothing';

CREATE TABLE alert_rules (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]*$'),
    expression text NOT NULL,
    for_seconds integer NOT NULL DEFAULT 0 CHECK (for_seconds >= 0),
    severity text NOT NULL CHECK (severity IN ('info', 'warning', 'error', 'critical')),
    labels jsonb NOT NULL DEFAULT '{}',
    annotations jsonb NOT NULL DEFAULT '{}',
    owner text NOT NULL,
    runbook text NOT NULL,
    routes text[] NOT NULL,
    no_data text NOT NULL DEFAULT 'alert' CHECK (no_data IN ('alert', 'ignore')),
    no_data_for_seconds integer NOT NULL DEFAULT 600 CHECK (no_data_for_seconds >= 0),
    is_active boolean NOT NULL DEFAULT true,
    seed_digest text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN alert_rules.no_data IS
    'Whether missing samples are an alert of their own (after no_data_for_seconds)';
COMMENT ON COLUMN alert_rules.seed_digest IS
    'Digest of the built-in rule that was brought in last; empty for a rule of one''s own';

-- While an alert that matches `source` fires, alerts that match `target` are not told of.
CREATE TABLE alert_inhibitions (
    name text PRIMARY KEY,
    source text[] NOT NULL,
    target text[] NOT NULL,
    equal text[] NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN alert_inhibitions.equal IS 'Labels in which both must agree';

CREATE TABLE alert_silences (
    silence_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    matchers text[] NOT NULL CHECK (cardinality(matchers) > 0),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    author text NOT NULL CHECK (author <> ''),
    comment text NOT NULL CHECK (comment <> ''),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (ends_at > starts_at)
);

-- A silence that comes again: from `starts_at` for `duration`, every `every` (or once).
CREATE TABLE alert_maintenance_windows (
    name text PRIMARY KEY,
    matchers text[] NOT NULL,
    starts_at timestamptz NOT NULL,
    duration interval NOT NULL CHECK (duration > interval '0'),
    every text NOT NULL DEFAULT 'once' CHECK (every IN ('once', 'day', 'week')),
    author text NOT NULL CHECK (author <> ''),
    comment text NOT NULL DEFAULT ''
);

-- What is pending or firing now. No row: inactive.
CREATE TABLE alert_instances (
    rule_name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('condition', 'no_data')),
    fingerprint text NOT NULL,
    labels jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'firing')),
    active_since timestamptz NOT NULL,
    fired_at timestamptz,
    value double precision,
    PRIMARY KEY (rule_name, kind, fingerprint),
    CHECK ((state = 'firing') = (fired_at IS NOT NULL))
);

CREATE TABLE alert_transitions (
    rule_name text NOT NULL,
    kind text NOT NULL,
    fingerprint text NOT NULL,
    evaluated_at timestamptz NOT NULL,
    labels jsonb NOT NULL,
    from_state text NOT NULL CHECK (from_state IN ('inactive', 'pending', 'firing')),
    to_state text NOT NULL CHECK (to_state IN ('inactive', 'pending', 'firing', 'resolved')),
    value double precision,
    PRIMARY KEY (rule_name, kind, fingerprint, evaluated_at)
);
CREATE INDEX alert_transitions_time ON alert_transitions (evaluated_at);

-- The one clock: minutes up to `evaluated_until` are settled and are never judged again.
CREATE TABLE alert_clock (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    evaluated_until timestamptz NOT NULL
);

-- Alerts that are told of together. Open from the first notification to the resolution.
CREATE TABLE alert_groups (
    route text NOT NULL,
    group_key text NOT NULL,
    labels jsonb NOT NULL,
    first_seen_at timestamptz NOT NULL,
    opened_at timestamptz,
    notified_at timestamptz,
    notified jsonb NOT NULL DEFAULT '[]',
    acknowledged_by text,
    acknowledged_at timestamptz,
    PRIMARY KEY (route, group_key)
);
COMMENT ON COLUMN alert_groups.notified IS 'The alerts that the last notification named as firing';

-- Written in the transaction that moves the states, sent afterwards: a notification is neither lost
-- nor made twice, whatever dies.
CREATE TABLE alert_notifications (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    route text NOT NULL,
    group_key text NOT NULL,
    dedup_key text NOT NULL,
    event text NOT NULL CHECK (event IN ('trigger', 'update', 'repeat', 'acknowledge', 'resolve')),
    evaluated_at timestamptz NOT NULL,
    content jsonb NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dropped')),
    attempts integer NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT 'epoch',
    leased_until timestamptz NOT NULL DEFAULT 'epoch',
    last_error text NOT NULL DEFAULT '',
    receipt jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    UNIQUE (route, group_key, event, evaluated_at)
);
CREATE INDEX alert_notifications_waiting ON alert_notifications (route, notification_id)
    WHERE state = 'waiting';
CREATE INDEX alert_notifications_incident ON alert_notifications (route, dedup_key);

DO $$
DECLARE
    audited text[][] := ARRAY[
        ['alert_rules', 'name'], ['alert_routes', 'name'], ['alert_inhibitions', 'name'],
        ['alert_silences', 'silence_id'], ['alert_maintenance_windows', 'name']
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
