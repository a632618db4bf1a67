-- Add a route, or change it.
INSERT INTO alert_routes (
    name, kind, connection_id, config, group_by, group_wait_seconds, group_interval_seconds,
    repeat_interval_seconds, is_active
) VALUES (
    %(name)s, %(kind)s, %(connection_id)s, %(config)s, %(group_by)s, %(group_wait_seconds)s,
    %(group_interval_seconds)s, %(repeat_interval_seconds)s, %(is_active)s
)
ON CONFLICT (name) DO UPDATE SET
    kind = excluded.kind, connection_id = excluded.connection_id, config = excluded.config,
    group_by = excluded.group_by, group_wait_seconds = excluded.group_wait_seconds,
    group_interval_seconds = excluded.group_interval_seconds,
    repeat_interval_seconds = excluded.repeat_interval_seconds, is_active = excluded.is_active
