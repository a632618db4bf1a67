{# The steps at which an instant selector finds any sample. #}
SELECT DISTINCT t FROM ({% include 'clickhouse/alerts/promql/placed_samples.sql' %})
