{# The published runs of windows. #}
SELECT w.window_start, r.run_id, r.row_count, r.content_hash, r.started_at, r.snapshot_at
FROM exported_windows AS w
INNER JOIN export_runs AS r USING (run_id)
WHERE w.name = %(name)s AND w.window_start = ANY(%(starts)s)
