-- A notification could not be sent: keep it, and why, for another try after a pause.
UPDATE alert_notifications SET
    last_error = %(reason)s,
    leased_until = 'epoch',
    not_before = clock_timestamp() + %(pause)s
WHERE notification_id = %(notification_id)s
