-- Withheld windows of the last day; first those that failed themselves.
SELECT
    dataset, window_start, window_end, reason, reason LIKE 'made from withheld %' AS is_derived
FROM published_windows
WHERE status = 'withheld' AND window_end > now() - interval '1 day'
ORDER BY is_derived, window_start DESC, dataset
LIMIT 500
