-- Note that the files of a run are gone.
UPDATE export_runs
SET state = 'failed', reason = 'its files are gone'
WHERE run_id = %s
