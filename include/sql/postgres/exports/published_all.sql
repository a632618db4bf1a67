{# Every published run with rows of an export. #}
SELECT w.window_start, r.run_id, r.prefix, r.snapshot_at
FROM exported_windows AS w
INNER JOIN export_runs AS r USING (run_id)
WHERE w.name = %(name)s AND r.row_count > 0
ORDER BY w.window_start
