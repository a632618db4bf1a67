-- Questions whose answers are sent to people, and each time that one was made.
CREATE TABLE reports (
    name text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    title text NOT NULL CHECK (title <> ''),
    description text NOT NULL DEFAULT '',
    owner text NOT NULL,
    panels jsonb NOT NULL,
    schedule jsonb,
    recipients jsonb NOT NULL DEFAULT '[]',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    scheduled_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN reports.panels IS '[{title, question: parameters of GET /v1/metrics}]';
COMMENT ON COLUMN reports.schedule IS '{every: day|week|month, at, zone, day}';
COMMENT ON COLUMN reports.recipients IS '[{route, config}]: a route of alerts, and what differs';
COMMENT ON COLUMN reports.scheduled_at IS 'Only moments after it are due: when the schedule changed';

CREATE TABLE report_runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    report text NOT NULL REFERENCES reports (name) ON DELETE CASCADE,
    due text NOT NULL,
    requested_by text NOT NULL,
    object_key text,
    receipts jsonb NOT NULL DEFAULT '{}',
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_at timestamptz,
    sent_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    UNIQUE (report, due)
);
COMMENT ON COLUMN report_runs.due IS 'The moment of the schedule, or the run that asked for it';
COMMENT ON COLUMN report_runs.receipts IS 'By recipient, so that nobody gets it twice';

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON reports
FOR EACH ROW EXECUTE FUNCTION record_audit('name');
