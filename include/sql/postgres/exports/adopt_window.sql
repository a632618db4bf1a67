-- The window is the run's; what the catalogue had in its place is replaced.
WITH older AS (
    UPDATE export_runs
    SET state = 'superseded', ended_at = clock_timestamp()
    WHERE
        name = %(name)s AND window_start = %(start)s AND window_end = %(end)s
        AND state = 'published' AND run_id <> %(run_id)s
)
INSERT INTO exported_windows (name, window_start, window_end, run_id)
VALUES (%(name)s, %(start)s, %(end)s, %(run_id)s)
ON CONFLICT (name, window_start, window_end) DO UPDATE SET run_id = excluded.run_id
