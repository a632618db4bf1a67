-- Save the state of one series of an alert rule.
INSERT INTO alert_instances
    (rule_name, kind, fingerprint, labels, state, active_since, fired_at, value)
VALUES (
    %(rule_name)s, %(kind)s, %(fingerprint)s, %(labels)s, %(state)s, %(active_since)s,
    %(fired_at)s, %(value)s
)
ON CONFLICT (rule_name, kind, fingerprint) DO UPDATE SET
    state = excluded.state, active_since = excluded.active_since, fired_at = excluded.fired_at,
    value = excluded.value
