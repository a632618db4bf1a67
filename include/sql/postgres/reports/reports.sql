-- Every report, by name.
SELECT name, title, description, owner, panels, schedule, recipients, is_active, created_at,
    scheduled_at
FROM reports
ORDER BY name
