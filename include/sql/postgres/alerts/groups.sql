-- Every group that has alerts or is open.
SELECT route, labels, first_seen_at, opened_at, notified_at, notified, acknowledged_by
FROM alert_groups
