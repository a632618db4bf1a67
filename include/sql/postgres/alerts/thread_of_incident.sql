-- Where the first notification of an incident went, for the others to follow it.
SELECT receipt FROM alert_notifications
WHERE route = %(route)s AND dedup_key = %(dedup_key)s AND state = 'sent' AND receipt IS NOT NULL
ORDER BY notification_id
LIMIT 1
