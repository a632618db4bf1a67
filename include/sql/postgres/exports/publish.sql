{# Let readers find a run's files, unless a later run's are there. #}
INSERT INTO exported_windows (name, window_start, window_end, run_id)
VALUES (%(name)s, %(start)s, %(end)s, %(run_id)s)
ON CONFLICT (name, window_start, window_end) DO UPDATE SET run_id = excluded.run_id
WHERE exported_windows.run_id < excluded.run_id
RETURNING run_id
