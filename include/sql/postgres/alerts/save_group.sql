-- Save the state of a group of alerts on a route. Who acknowledged it stays until it resolves.
INSERT INTO alert_groups
    (route, group_key, labels, first_seen_at, opened_at, notified_at, notified, acknowledged_by)
VALUES (
    %(route)s, %(group_key)s, %(labels)s, %(first_seen_at)s, %(opened_at)s, %(notified_at)s,
    %(notified)s, %(acknowledged_by)s
)
ON CONFLICT (route, group_key) DO UPDATE SET
    first_seen_at = excluded.first_seen_at, opened_at = excluded.opened_at,
    notified_at = excluded.notified_at, notified = excluded.notified,
    acknowledged_by = excluded.acknowledged_by,
    acknowledged_at = CASE WHEN excluded.acknowledged_by IS NULL THEN NULL
        ELSE alert_groups.acknowledged_at END
