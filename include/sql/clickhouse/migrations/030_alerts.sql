-- What Millrace says about itself, in the shape of analytics.metrics. Features write samples here
-- with the moment they hold for; of a sample written twice the last counts. Rules ask for a few
-- minutes of one metric: hence small granules, and labels that are ready to be compared.
CREATE TABLE IF NOT EXISTS pipeline_metrics {{ on_cluster }}
(
    timestamp DateTime('UTC') COMMENT 'Moment the value was true (not the start of a window)',
    metric_name LowCardinality(String) COMMENT 'Prometheus style: millrace_…, unit last',
    value Float64,
    dimensions Map(LowCardinality(String), String),
    labels Map(String, String) MATERIALIZED mapSort(mapConcat(
        map('__name__', toString(metric_name)),
        mapFilter((k, l) -> l != '', CAST(dimensions, 'Map(String, String)'))
    )) COMMENT 'As alert expressions see them',
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree') }}(recorded_at)
PARTITION BY toDate(timestamp)
PRIMARY KEY (metric_name, timestamp)
ORDER BY (metric_name, timestamp, dimensions)
TTL timestamp + INTERVAL {{ events_retention_days }} DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity = 512
COMMENT 'Lag, freshness, quality, backups, DAG failures: gauges and counters by time'
;
-- One row per rule, series and minute. A minute that is evaluated again replaces its rows.
CREATE TABLE IF NOT EXISTS alert_evaluations {{ on_cluster }}
(
    evaluated_at DateTime('UTC') COMMENT 'Minute that was judged',
    rule_name LowCardinality(String),
    labels Map(LowCardinality(String), String) COMMENT 'The series; empty where there was none',
    status Enum8('ok' = 1, 'active' = 2, 'no_data' = 3, 'error' = 4),
    value Float64 COMMENT 'NaN where there was no series',
    detail String COMMENT 'What was missing, or the error',
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree') }}
PARTITION BY toDate(evaluated_at)
ORDER BY (rule_name, evaluated_at, labels)
TTL evaluated_at + INTERVAL {{ events_retention_days }} DAY
SETTINGS ttl_only_drop_parts = 1
COMMENT 'Every result of every alert rule'
