{# The anomalies of the last day, for the front page. #}
SELECT kind, window_start, event_type, dimension, value, expected, deviations
FROM quality_anomalies FINAL
WHERE window_start > now() - INTERVAL 1 DAY
ORDER BY window_start DESC, deviations DESC
LIMIT 20
