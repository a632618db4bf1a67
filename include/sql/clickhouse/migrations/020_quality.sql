-- What each audit of a window found, one row per expectation.
CREATE TABLE IF NOT EXISTS quality_results {{ on_cluster }}
(
    dataset LowCardinality(String),
    window_kind LowCardinality(String) COMMENT '5m, 1h or 1d',
    window_start DateTime('UTC'),
    window_end DateTime('UTC'),
    expectation String COMMENT 'What was expected, in words',
    severity LowCardinality(String) COMMENT 'critical withholds the window, warning does not',
    is_success Bool,
    observed String COMMENT 'What was found, as JSON',
    report String COMMENT 'Page of the report, relative to the Data Docs',
    checked_at DateTime64(3, 'UTC')
)
ENGINE = {{ engine('MergeTree') }}
PARTITION BY toYYYYMM(window_start)
ORDER BY (dataset, window_kind, window_start, expectation, checked_at)
TTL window_start + INTERVAL {{ events_retention_days }} DAY
COMMENT 'Results of Great Expectations, for dashboards and alerts'
;
-- Every window that was audited, as it was audited last; the front page and its history read it.
CREATE TABLE IF NOT EXISTS quality_audits {{ on_cluster }}
(
    dataset LowCardinality(String),
    window_kind LowCardinality(String) COMMENT '5m, 1h or 1d',
    window_start DateTime('UTC'),
    window_end DateTime('UTC'),
    failures UInt16 COMMENT 'Critical expectations that failed; any withholds the window',
    warnings UInt16 COMMENT 'Other expectations that failed',
    report String COMMENT 'Page of the report, relative to the Data Docs',
    covers_until DateTime64(3, 'UTC')
        COMMENT 'Late events ingested before it were audited with theirs; 0: only this window was',
    checked_at DateTime64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree(checked_at)') }}
PARTITION BY toYYYYMM(window_start)
ORDER BY (dataset, window_kind, window_start)
TTL window_start + INTERVAL {{ events_retention_days }} DAY
COMMENT 'Audited windows; read it with FINAL'
;
-- Numbers that people can hold us to; include/sql/clickhouse/quality/metrics.sql defines them.
CREATE TABLE IF NOT EXISTS quality_metrics {{ on_cluster }}
(
    hour DateTime('UTC') COMMENT 'Hour in which Kafka got the messages',
    source_id LowCardinality(String),
    metric LowCardinality(String)
        COMMENT 'completeness, consistency, timeliness, uniqueness, accuracy',
    value Float64 COMMENT 'good / total; 1 where nothing came',
    target Float64,
    good UInt64,
    total UInt64,
    is_met Bool MATERIALIZED value >= target,
    computed_at DateTime64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree') }}
PARTITION BY toYYYYMM(hour)
ORDER BY (hour, source_id, metric)
TTL hour + INTERVAL 400 DAY
COMMENT 'Quality per hour and source against targets; read it with FINAL'
;
-- Hours that were measured and judged, as they were last.
CREATE TABLE IF NOT EXISTS quality_hours {{ on_cluster }}
(
    hour DateTime('UTC'),
    covers_until DateTime64(3, 'UTC')
        COMMENT 'Hours changed by rows ingested before it were measured with this one',
    measured_at DateTime64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree(measured_at)') }}
PARTITION BY toYYYYMM(hour)
ORDER BY hour
TTL hour + INTERVAL 400 DAY
COMMENT 'Hours whose quality was measured; silent ones have no rows in quality_metrics'
;
-- How often each rule hit in a closed window, shadow rules included.
CREATE TABLE IF NOT EXISTS rule_hits {{ on_cluster }}
(
    window_start DateTime('UTC'),
    source_id LowCardinality(String),
    rule LowCardinality(String),
    mode LowCardinality(String) COMMENT 'enforce, warn or shadow',
    reason LowCardinality(String),
    hits UInt64,
    examples Array(String) COMMENT 'Up to three of the messages, cut at 500 bytes',
    counted_at DateTime64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree') }}
PARTITION BY toYYYYMM(window_start)
ORDER BY (window_start, source_id, rule, reason)
TTL window_start + INTERVAL {{ events_retention_days }} DAY
COMMENT 'Events that a rule hit, by five minutes; read it with FINAL'
;
-- Windows that stood out against the same hour of the week.
CREATE TABLE IF NOT EXISTS quality_anomalies {{ on_cluster }}
(
    kind LowCardinality(String) COMMENT 'volume, freshness, distribution or user_rate',
    window_start DateTime('UTC'),
    window_end DateTime('UTC'),
    event_type LowCardinality(String),
    dimension String COMMENT 'name=value, or empty; of a distribution the name alone',
    value Float64 COMMENT 'Events, seconds (95th percentile), or population stability index',
    expected Float64 COMMENT 'Median of the baseline; of a distribution what is let pass',
    deviations Float64
        COMMENT 'Distance in robust standard deviations (1.4826 x MAD); value / expected of a distribution',
    samples UInt32 COMMENT 'Windows in the baseline',
    found_at DateTime64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree') }}
PARTITION BY toYYYYMM(window_start)
ORDER BY (kind, window_start, window_end, event_type, dimension)
TTL window_start + INTERVAL 400 DAY
COMMENT 'Anomalies; windows in here are left out of later baselines; read it with FINAL'
;
-- Metrics of aggregation rules; compiling the rules replaces the two views. None at first.
CREATE VIEW IF NOT EXISTS rule_metric_definitions {{ on_cluster }} AS
{% set aggregations = [] %}
{% include 'clickhouse/rules/metric_definitions.sql' %}

COMMENT 'What the metrics of aggregation rules mean'
;
CREATE VIEW IF NOT EXISTS rule_metrics {{ on_cluster }} AS
{% include 'clickhouse/rules/metrics.sql' %}

COMMENT 'Metrics of aggregation rules, computed when asked'
