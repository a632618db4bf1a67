{# The newest value of each metric of quality, for the front page. #}
SELECT
    source_id,
    metric,
    max(m.hour) AS hour,
    argMax(m.value, m.hour) AS value,
    argMax(m.target, m.hour) AS target,
    argMax(m.value >= m.target, m.hour) AS is_met,
    min(m.value) AS worst,
    countIf(m.value < m.target) AS missed,
    count() AS hours
FROM quality_metrics AS m FINAL
WHERE m.hour > now() - INTERVAL 7 DAY
GROUP BY source_id, metric
ORDER BY source_id, metric
