-- Every run whose files may be there, and whether it is the one of its window.
SELECT
    r.run_id, r.prefix, r.row_count,
    EXISTS (SELECT FROM exported_windows AS w WHERE w.run_id = r.run_id) AS is_current
FROM export_runs AS r
WHERE r.objects_deleted_at IS NULL
    OR EXISTS (SELECT FROM exported_windows AS w WHERE w.run_id = r.run_id)
