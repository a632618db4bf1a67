-- Let a notification wait in the outbox as if it had never been tried, for another message.
UPDATE alert_notifications SET
    state = 'waiting',
    attempts = 0,
    not_before = 'epoch',
    leased_until = 'epoch',
    last_error = ''
WHERE notification_id = %(notification_id)s
    AND (state <> 'waiting' OR leased_until <= clock_timestamp())
    AND created_at > clock_timestamp() - %(kept_for)s::interval
RETURNING route, evaluated_at
