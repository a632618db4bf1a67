{# What a dashboard asks: the same total from two rollups. #}
SELECT
    (SELECT sum(events) FROM analytics.metrics_1h) AS by_hour,
    (SELECT sum(events) FROM analytics.metrics_1min) AS by_minute
