-- Move the register's horizon, unless it was moved a moment ago.
UPDATE ingest_register
SET horizon = %(horizon)s, expired_at = clock_timestamp()
WHERE expired_at < clock_timestamp() - make_interval(secs => %(due_seconds)s)
RETURNING instance
