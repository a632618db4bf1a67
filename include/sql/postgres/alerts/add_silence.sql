-- Silence alerts that fit every matcher for a time.
INSERT INTO alert_silences (matchers, starts_at, ends_at, author, comment)
VALUES (%(matchers)s, %(starts_at)s, %(ends_at)s, %(author)s, %(comment)s)
RETURNING silence_id
