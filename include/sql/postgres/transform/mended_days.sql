-- Days with windows that were withheld since a view was withdrawn that is mended now.
SELECT DISTINCT (p.window_start AT TIME ZONE 'UTC')::date AS day
FROM published_windows AS p
JOIN withdrawn_views AS w ON p.checked_at >= w.withdrawn_at
WHERE p.status = 'withheld' AND w.view = ANY(%(views)s)
ORDER BY day
