-- The published metrics, and the labels that their samples have.
SELECT metric_name, kind, grain_seconds, dimensions FROM analytics.metric_definitions
WHERE is_sampled
