-- The last notifications, and all that wait.
SELECT * FROM alert_notifications
WHERE created_at >= %(since)s OR state = 'waiting'
ORDER BY notification_id DESC
LIMIT 200
