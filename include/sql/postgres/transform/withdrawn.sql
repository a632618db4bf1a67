-- The views that were taken out of production's rollups, oldest first.
SELECT view, rollups, error, withdrawn_at, tried_release, may_pass
FROM withdrawn_views
WHERE NOT starts_with(view, %(shadow)s)
ORDER BY withdrawn_at
