-- Routes that have something to send; one that is switched off still tells how incidents ended.
SELECT r.name, r.kind, r.connection_id, r.config, r.group_by, r.group_wait_seconds,
    r.group_interval_seconds, r.repeat_interval_seconds, r.is_active
FROM alert_routes AS r
WHERE EXISTS (
    SELECT FROM alert_notifications AS n
    WHERE n.route = r.name AND n.state = 'waiting' AND (r.is_active OR n.event = 'resolve')
        AND n.not_before <= clock_timestamp() AND n.leased_until <= clock_timestamp()
)
ORDER BY r.name
