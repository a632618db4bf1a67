-- Make a report, or change one; moments of a schedule that is new are due from now on.
INSERT INTO reports (name, title, description, owner, panels, schedule, recipients, is_active)
VALUES (
    %(name)s, %(title)s, %(description)s, %(owner)s, %(panels)s, %(schedule)s, %(recipients)s,
    %(is_active)s
)
ON CONFLICT (name) DO UPDATE SET
    title = EXCLUDED.title,
    description = EXCLUDED.description,
    panels = EXCLUDED.panels,
    schedule = EXCLUDED.schedule,
    recipients = EXCLUDED.recipients,
    is_active = EXCLUDED.is_active,
    scheduled_at = CASE
        WHEN reports.schedule IS DISTINCT FROM EXCLUDED.schedule
            OR NOT reports.is_active AND EXCLUDED.is_active
        THEN now() ELSE reports.scheduled_at END
