{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Partitions of rejected_events in which a verdict changes.
SELECT DISTINCT day
FROM (
    SELECT DISTINCT toDate(rejected_at) AS day FROM {{ rejected_shadow }}
    UNION ALL
    SELECT DISTINCT toDate(rejected_at) FROM rejected_events
    WHERE {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM fresh)
)
ORDER BY day
