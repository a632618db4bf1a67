-- Add an alert rule, or change it.
INSERT INTO alert_rules (
    name, expression, for_seconds, severity, labels, annotations, owner, runbook, routes, no_data,
    no_data_for_seconds, is_active, seed_digest
) VALUES (
    %(name)s, %(expression)s, %(for_seconds)s, %(severity)s, %(labels)s, %(annotations)s,
    %(owner)s, %(runbook)s, %(routes)s, %(no_data)s, %(no_data_for_seconds)s, %(is_active)s,
    %(seed_digest)s
)
ON CONFLICT (name) DO UPDATE SET
    expression = excluded.expression, for_seconds = excluded.for_seconds,
    severity = excluded.severity, labels = excluded.labels, annotations = excluded.annotations,
    owner = excluded.owner, runbook = excluded.runbook, routes = excluded.routes,
    no_data = excluded.no_data, no_data_for_seconds = excluded.no_data_for_seconds,
    is_active = excluded.is_active, seed_digest = excluded.seed_digest, updated_at = now()
