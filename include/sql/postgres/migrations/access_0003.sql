-- People who sign in: with a password, or by an OpenID provider (issuer and subject).
CREATE TABLE users (
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9._@+-]{0,126}$'),
    role text NOT NULL CHECK (role IN ('viewer', 'analyst', 'operator', 'admin')),
    sources text[],
    datasets text[],
    issuer text,
    subject text,
    is_active boolean NOT NULL DEFAULT true,
    password_changed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (issuer, subject),
    CHECK ((issuer IS NULL) = (subject IS NULL))
);
COMMENT ON COLUMN users.sources IS 'The sources whose numbers they may see; NULL: all';
COMMENT ON COLUMN users.datasets IS 'The datasets that they may see; NULL: all';

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON users
FOR EACH ROW EXECUTE FUNCTION record_audit('name');

-- Hashes of passwords (argon2id) are apart, so that audit_logs has none.
CREATE TABLE user_passwords (
    name text PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    hash text NOT NULL
);

-- A session begins with a login and ends with a logout, a change of the password, or when one of
-- its refresh tokens is used a second time, which means that somebody has copied it.
CREATE TABLE sessions (
    session_id text PRIMARY KEY,
    user_name text NOT NULL REFERENCES users ON DELETE CASCADE,
    address text NOT NULL,
    client text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_because text,
    CHECK ((ended_at IS NULL) = (ended_because IS NULL))
);
CREATE INDEX sessions_of_users ON sessions (user_name) WHERE ended_at IS NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TRIGGER audit AFTER INSERT OR UPDATE ON sessions
FOR EACH ROW EXECUTE FUNCTION record_audit('session_id');

CREATE TABLE refresh_tokens (
    digest bytea PRIMARY KEY CHECK (length(digest) = 32),
    session_id text NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz
);
CREATE INDEX refresh_tokens_of_sessions ON refresh_tokens (session_id);

-- Keys that access tokens are signed with (Ed25519), sealed with MILLRACE_QUERY_KEY.
CREATE TABLE signing_keys (
    key_id text PRIMARY KEY,
    sealed_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
