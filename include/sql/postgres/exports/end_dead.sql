-- Whoever holds the window's lock is alone with it: a run that still says `running` died.
UPDATE export_runs
SET state = 'failed', reason = 'it died', ended_at = clock_timestamp()
WHERE name = %(name)s AND window_start = %(start)s AND state = 'running'
