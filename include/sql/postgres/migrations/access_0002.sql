-- API tokens: how programs ask the query API. The secret itself is nowhere: only its SHA-256.
CREATE TABLE api_tokens (
    token_id text PRIMARY KEY,
    name text NOT NULL CHECK (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
    digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
    role text NOT NULL CHECK (role IN ('viewer', 'analyst', 'operator', 'admin')),
    sources text[],
    datasets text[],
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE UNIQUE INDEX api_tokens_standing ON api_tokens (name) WHERE revoked_at IS NULL;
COMMENT ON COLUMN api_tokens.token_id IS 'The public part of the token''s text, which finds it in logs';
COMMENT ON COLUMN api_tokens.sources IS 'The sources whose numbers it may see; NULL: all';
COMMENT ON COLUMN api_tokens.datasets IS 'The datasets that it may see; NULL: all';

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON api_tokens
FOR EACH ROW EXECUTE FUNCTION record_audit('name');

-- When a token was used last: written every few seconds, so it is apart and not audited.
CREATE TABLE api_token_usage (
    token_id text PRIMARY KEY REFERENCES api_tokens ON DELETE CASCADE,
    used_at timestamptz NOT NULL
) WITH (fillfactor = 50);
