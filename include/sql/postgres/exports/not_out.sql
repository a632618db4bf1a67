-- Windows whose last run did not publish them: skipped, failed, or cut short.
SELECT window_start
FROM (
    SELECT DISTINCT ON (window_start) window_start, state
    FROM export_runs
    WHERE name = %(name)s AND window_start >= %(earliest)s
    ORDER BY window_start, run_id DESC
) AS last_run
WHERE state NOT IN ('published', 'superseded')
