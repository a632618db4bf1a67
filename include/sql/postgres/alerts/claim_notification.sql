-- The oldest notification of a route that may be sent now. A group's notifications go in order: one
-- waits while an older one of its group does. A route that is switched off gets ends, nothing else.
UPDATE alert_notifications SET
    attempts = attempts + 1,
    leased_until = clock_timestamp() + %(lease)s
WHERE notification_id = (
    SELECT n.notification_id
    FROM alert_notifications AS n
    WHERE n.route = %(route)s AND n.state = 'waiting'
        AND n.not_before <= clock_timestamp() AND n.leased_until <= clock_timestamp()
        AND (n.event = 'resolve' OR (SELECT is_active FROM alert_routes WHERE name = n.route))
        AND NOT EXISTS (
            SELECT FROM alert_notifications AS older
            WHERE older.route = n.route AND older.group_key = n.group_key
                AND older.state = 'waiting' AND older.notification_id < n.notification_id
        )
    -- What the channel has refused comes last: it holds up nothing else.
    ORDER BY n.attempts, n.notification_id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING
    notification_id, route, group_key, dedup_key, event, evaluated_at, content, attempts, created_at
