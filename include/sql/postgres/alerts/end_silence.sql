-- End a silence that has not ended; one that has not begun lasts for a second.
UPDATE alert_silences SET ends_at = greatest(now(), starts_at + interval '1 s')
WHERE silence_id = %(silence_id)s AND ends_at > now()
