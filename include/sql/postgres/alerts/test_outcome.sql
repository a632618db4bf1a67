-- What became of the notifications that a route was tried with.
SELECT event, state, attempts, last_error FROM alert_notifications
WHERE route = %(route)s AND evaluated_at = %(evaluated_at)s
ORDER BY notification_id
