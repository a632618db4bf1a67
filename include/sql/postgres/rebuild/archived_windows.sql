{# Hours of days that the raw archive has. #}
SELECT w.window_start, w.window_end, r.prefix
FROM exported_windows AS w
INNER JOIN export_runs AS r USING (run_id)
WHERE w.name = 'raw_events' AND r.row_count > 0
    AND (w.window_start AT TIME ZONE 'UTC')::date = ANY(%(days)s)
ORDER BY w.window_start
