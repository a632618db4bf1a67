-- Every alert rule, whether or not it is switched on.
SELECT
    name, expression, severity, owner, runbook, routes, for_seconds, labels, annotations, no_data,
    no_data_for_seconds, is_active, seed_digest, created_at
FROM alert_rules
ORDER BY name
