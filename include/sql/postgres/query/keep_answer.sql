-- Keep the answer to a request, and forget those that are a day old.
WITH forgotten AS (
    DELETE FROM idempotent_answers WHERE answered_at < clock_timestamp() - interval '24 hours'
)
INSERT INTO idempotent_answers (key_digest, request_digest, answer)
VALUES (%(key_digest)s, %(request_digest)s, %(answer)s)
ON CONFLICT (key_digest) DO UPDATE SET
    request_digest = excluded.request_digest, answer = excluded.answer,
    answered_at = excluded.answered_at
