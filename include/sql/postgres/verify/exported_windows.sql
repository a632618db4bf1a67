-- The catalogue of a dataset's exports.
SELECT w.window_start, w.window_end, w.run_id, r.row_count
FROM exported_windows AS w
INNER JOIN export_runs AS r USING (run_id)
WHERE w.name = %(dataset)s
ORDER BY w.window_start
