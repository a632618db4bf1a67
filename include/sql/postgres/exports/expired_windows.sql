{# Exported windows that are past their retention, and where their files are. #}
SELECT w.name, w.window_start, w.run_id, r.prefix
FROM exported_windows AS w
INNER JOIN export_definitions AS d USING (name)
INNER JOIN export_runs AS r USING (run_id)
WHERE w.window_end + make_interval(days => d.retention_days) < %(now)s
