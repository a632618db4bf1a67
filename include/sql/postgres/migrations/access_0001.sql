-- Keys that events are sent with. The secret itself is nowhere: only its SHA-256. A name has one
-- key that stands, and those that a rotation left to run out.
CREATE TABLE ingest_keys (
    key_id text PRIMARY KEY,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    source_id text NOT NULL REFERENCES data_sources ON DELETE CASCADE,
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    scopes text[] NOT NULL DEFAULT '{ingest}'
        CHECK (scopes <@ ARRAY['ingest', 'read:live'] AND cardinality(scopes) > 0),
    allowed_origins text[] NOT NULL DEFAULT '{}',
    rate_per_second integer CHECK (rate_per_second > 0),
    quota_per_day bigint CHECK (quota_per_day > 0),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX ingest_keys_standing ON ingest_keys (name)
WHERE rotated_at IS NULL AND revoked_at IS NULL;
COMMENT ON COLUMN ingest_keys.key_id IS 'The public part of the key''s text, which finds it in logs';
COMMENT ON COLUMN ingest_keys.allowed_origins IS 'Where browsers may send from; empty: anywhere';
COMMENT ON COLUMN ingest_keys.rotated_at IS 'When another took its place; it runs out at expires_at';

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON ingest_keys
FOR EACH ROW EXECUTE FUNCTION record_audit('name');

-- What was sent under a name on a day of UTC: counted by every worker, for quotas and rates. It is
-- written every second, so it keeps room for its own updates and is not audited.
CREATE TABLE ingest_key_usage (
    name text NOT NULL,
    day date NOT NULL,
    event_count bigint NOT NULL,
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, day)
) WITH (fillfactor = 50);
