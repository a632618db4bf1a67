-- Every run whose files may be there, or the one that is asked for, and whether it is the one of its
-- window.
SELECT
    r.run_id, r.name, r.window_start, r.prefix, r.row_count,
    EXISTS (SELECT FROM exported_windows AS w WHERE w.run_id = r.run_id) AS is_current
FROM export_runs AS r
WHERE
    CASE
        WHEN %(run_id)s::bigint IS NOT NULL THEN r.run_id = %(run_id)s::bigint
        ELSE r.objects_deleted_at IS NULL
            OR EXISTS (SELECT FROM exported_windows AS w WHERE w.run_id = r.run_id)
    END
