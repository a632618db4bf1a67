{# Make the views in which the metrics of aggregation rules are read. #}
CREATE OR REPLACE VIEW rule_metric_definitions {{ on_cluster }} AS
{{ meanings }}
COMMENT 'What the metrics of aggregation rules mean'
;
CREATE OR REPLACE VIEW rule_metric_rollups {{ on_cluster }} AS
{{ rollups }}
COMMENT 'Where the metrics of aggregation rules are computed'
;
CREATE OR REPLACE VIEW rule_metrics {{ on_cluster }} AS
{{ numbers }}
COMMENT 'Metrics of aggregation rules, computed when asked; compiled from {{ mark }}'
