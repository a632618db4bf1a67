-- Note that a series of an alert rule changed its state.
INSERT INTO alert_transitions
    (rule_name, kind, fingerprint, evaluated_at, labels, from_state, to_state, value)
VALUES (
    %(rule_name)s, %(kind)s, %(fingerprint)s, %(evaluated_at)s, %(labels)s, %(from_state)s,
    %(to_state)s, %(value)s
)
