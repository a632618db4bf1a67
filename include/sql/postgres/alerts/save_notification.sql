-- Put a notification into the outbox, once for what happened at a minute.
INSERT INTO alert_notifications (route, group_key, dedup_key, event, evaluated_at, content)
VALUES (%(route)s, %(group_key)s, %(dedup_key)s, %(event)s, %(evaluated_at)s, %(content)s)
ON CONFLICT (route, group_key, event, evaluated_at) DO NOTHING
