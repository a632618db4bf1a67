-- The last changes of state, of one rule or of all.
SELECT * FROM alert_transitions
WHERE evaluated_at >= %(since)s AND (%(name)s::text IS NULL OR rule_name = %(name)s)
ORDER BY evaluated_at DESC
LIMIT 500
