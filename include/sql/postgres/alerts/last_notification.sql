-- What was said last of an incident.
SELECT content FROM alert_notifications
WHERE route = %(route)s AND dedup_key = %(dedup_key)s
ORDER BY notification_id DESC
LIMIT 1
