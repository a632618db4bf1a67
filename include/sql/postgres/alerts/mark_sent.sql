-- A notification was sent.
UPDATE alert_notifications SET
    state = 'sent',
    sent_at = clock_timestamp(),
    last_error = '',
    receipt = %(receipt)s
WHERE notification_id = %(notification_id)s
