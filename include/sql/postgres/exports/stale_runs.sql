{# Runs whose files nobody needs any more. #}
SELECT run_id, prefix
FROM export_runs
WHERE
    state IN ('superseded', 'failed', 'skipped') AND prefix <> '' AND objects_deleted_at IS NULL
    AND ended_at < %(before)s
