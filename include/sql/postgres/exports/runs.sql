-- The runs of an export, the newest first, behind a run.
SELECT
    run_id, window_start, window_end, state, reason, requested_by, schema_version, row_count,
    byte_count, started_at, ended_at
FROM export_runs
WHERE name = %(name)s AND run_id < %(before)s
ORDER BY run_id DESC
LIMIT %(limit)s
