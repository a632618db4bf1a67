-- The metrics, and the rollups of each in the order in which they are to be asked.
SELECT
    d.metric_name, d.meaning, d.unit, d.kind, r.model, r.grain_seconds, r.time_column, r.value,
    r.condition, r.present, r.dimensions, r.source_column, r.is_divisible, r.tables
FROM analytics.metric_definitions AS d
INNER JOIN analytics.metric_rollups AS r ON r.metric_name = d.metric_name
ORDER BY d.metric_name, r.position
