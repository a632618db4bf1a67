-- The routes that have a notification that may be sent now.
SELECT r.name, r.kind, r.connection_id, r.config, r.group_by, r.group_wait_seconds,
    r.group_interval_seconds, r.repeat_interval_seconds, r.is_active
FROM alert_routes AS r
WHERE r.is_active AND EXISTS (
    SELECT FROM alert_notifications AS n
    WHERE n.route = r.name AND n.state = 'waiting'
        AND n.not_before <= clock_timestamp() AND n.leased_until <= clock_timestamp()
)
ORDER BY r.name
