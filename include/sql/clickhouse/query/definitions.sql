{# What every metric means. #}
SELECT metric_name, meaning, unit, kind, dimensions
FROM analytics.metric_definitions
ORDER BY metric_name
