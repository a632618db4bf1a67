-- How many events the rollup of a minute counts.
SELECT sum(events) FROM analytics.metrics_1min
