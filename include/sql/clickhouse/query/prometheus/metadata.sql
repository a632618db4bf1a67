-- What published metrics and Millrace's own are, and the labels that their samples have.
SELECT metric_name, meaning, unit, kind, dimensions FROM analytics.metric_definitions
UNION ALL
SELECT
    metric_name, '' AS meaning, '' AS unit, 'own' AS kind,
    groupUniqArrayArray(mapKeys(labels)) AS dimensions
FROM pipeline_metrics
WHERE timestamp > now() - INTERVAL 1 DAY
GROUP BY metric_name
ORDER BY metric_name
