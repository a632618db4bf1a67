-- Which of some metrics of Millrace's own had a sample in the last week.
SELECT DISTINCT metric_name FROM pipeline_metrics
WHERE metric_name IN {names:Array(String)} AND timestamp > now() - INTERVAL 7 DAY
