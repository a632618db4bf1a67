-- What became of a run.
UPDATE export_runs
SET state = %s, reason = %s, ended_at = clock_timestamp()
WHERE run_id = %s
