SELECT dataset, window_start, window_end, reason
FROM published_windows
WHERE status = 'withheld' AND window_end > now() - interval '1 day'
ORDER BY window_start DESC
LIMIT 50
