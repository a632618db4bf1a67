-- What failed in the newest audit of each dataset and kind of window.
SELECT
    dataset, window_kind, window_start, window_end, severity, statement, is_checked, observed, report
FROM quality_results
WHERE
    NOT is_success
    AND (dataset, window_kind, window_start, checked_at) IN (
        SELECT
            dataset, window_kind,
            argMax(window_start, (window_start, checked_at)),
            argMax(checked_at, (window_start, checked_at))
        FROM quality_audits
        WHERE window_start > now() - INTERVAL 3 DAY
        GROUP BY dataset, window_kind
    )
ORDER BY severity, dataset, window_start DESC
LIMIT 50
