-- Plan a maintenance window, or plan it otherwise.
INSERT INTO alert_maintenance_windows
    (name, matchers, starts_at, duration, every, author, comment)
VALUES (%(name)s, %(matchers)s, %(starts_at)s, %(lasts)s, %(every)s, %(author)s, %(comment)s)
ON CONFLICT (name) DO UPDATE SET
    matchers = excluded.matchers,
    starts_at = excluded.starts_at,
    duration = excluded.duration,
    every = excluded.every,
    author = excluded.author,
    comment = excluded.comment
