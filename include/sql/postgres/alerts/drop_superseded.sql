-- An update or reminder says nothing once a newer notification of its incident waits behind it.
UPDATE alert_notifications AS n SET
    state = 'dropped',
    last_error = CASE WHEN n.created_at < clock_timestamp() - %(kept_for)s::interval
        THEN 'could not be sent for too long; last: ' || n.last_error ELSE 'superseded' END
WHERE n.state = 'waiting' AND n.leased_until <= clock_timestamp() AND (
    n.created_at < clock_timestamp() - %(kept_for)s::interval
    OR n.event IN ('update', 'repeat') AND EXISTS (
        SELECT FROM alert_notifications AS newer
        WHERE newer.route = n.route AND newer.dedup_key = n.dedup_key
            AND newer.state = 'waiting' AND newer.notification_id > n.notification_id
    )
)
