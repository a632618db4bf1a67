{# Seconds since the last good backup of each kind. #}
SELECT dimensions['kind'] AS kind, toUnixTimestamp(now()) - max(value) AS age
FROM pipeline_metrics
WHERE metric_name = 'millrace_backup_last_success_timestamp_seconds'
GROUP BY kind
