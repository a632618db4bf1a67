-- Whoever holds the window's lock is alone with it: an older run that still says `running` died.
WITH dead AS (
    UPDATE export_runs
    SET state = 'failed', reason = 'it died', ended_at = clock_timestamp()
    WHERE name = %(name)s AND window_start = %(start)s AND state = 'running'
)
INSERT INTO export_runs (name, window_start, window_end, requested_by)
VALUES (%(name)s, %(start)s, %(end)s, %(requested_by)s)
RETURNING run_id
