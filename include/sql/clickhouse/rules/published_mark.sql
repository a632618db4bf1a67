-- The comment of the view of all aggregation rules, which says what it was made of.
SELECT comment
FROM system.tables
WHERE database = currentDatabase() AND name = 'rule_metrics'
