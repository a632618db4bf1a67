SELECT sum(events) FROM analytics.metrics_1min
