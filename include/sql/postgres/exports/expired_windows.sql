{# Exported windows that are past their retention. #}
SELECT w.name, w.window_start, w.window_end, w.run_id
FROM exported_windows AS w
INNER JOIN export_definitions AS d USING (name)
WHERE w.window_end + make_interval(days => d.retention_days) < %(now)s
