-- Every route, whether or not it is switched on.
SELECT
    name, kind, connection_id, config, group_by, group_wait_seconds, group_interval_seconds,
    repeat_interval_seconds, is_active
FROM alert_routes
ORDER BY name
