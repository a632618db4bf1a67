-- The labels of what was pending or firing in the last month.
SELECT DISTINCT jsonb_object_keys(labels) AS label
FROM alert_transitions
WHERE evaluated_at > now() - interval '30 days'
