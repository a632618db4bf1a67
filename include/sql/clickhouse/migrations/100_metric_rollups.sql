-- Where metrics of aggregation rules are computed; compiling the rules replaces it. None at first.
CREATE VIEW IF NOT EXISTS rule_metric_rollups {{ on_cluster }} AS
{% set aggregations = [] %}
{% include 'clickhouse/rules/metric_rollups.sql' %}

COMMENT 'Where the metrics of aggregation rules are computed'
