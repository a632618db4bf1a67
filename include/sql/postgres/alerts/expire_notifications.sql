-- Forget what was told long ago, but not of an incident that is open.
DELETE FROM alert_notifications AS n
WHERE n.state <> 'waiting' AND n.created_at < %(before)s AND NOT EXISTS (
    SELECT FROM alert_groups AS g
    WHERE g.route = n.route AND g.group_key = n.group_key AND g.opened_at IS NOT NULL
)
