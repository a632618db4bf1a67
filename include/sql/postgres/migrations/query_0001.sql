-- Answers to requests that had an Idempotency-Key, for the day in which the same request is not done
-- again. An answer may hold a secret that is shown once: it is encrypted with the sender's key, of
-- which nothing is kept but a digest.
CREATE TABLE idempotent_answers (
    key_digest bytea PRIMARY KEY CHECK (length(key_digest) = 32),
    request_digest bytea NOT NULL CHECK (length(request_digest) = 32),
    answer bytea NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX idempotent_answers_time ON idempotent_answers (answered_at);
COMMENT ON COLUMN idempotent_answers.key_digest IS 'SHA-256 of who asked, and of the key';
COMMENT ON COLUMN idempotent_answers.request_digest IS 'SHA-256 of method, address and body';

-- People look for what somebody changed, and for what was changed in a time, the newest first.
CREATE INDEX audit_logs_actor ON audit_logs (changed_by, audit_id);
CREATE INDEX audit_logs_time ON audit_logs (changed_at);
