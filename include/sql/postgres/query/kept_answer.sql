-- The answer that a request had within the last day.
SELECT request_digest, answer FROM idempotent_answers
WHERE key_digest = %(key_digest)s AND answered_at >= clock_timestamp() - interval '24 hours'
