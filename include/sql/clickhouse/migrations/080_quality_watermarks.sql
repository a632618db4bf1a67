-- Up to when changes of the past were looked for and everything found was judged. Windows and hours
-- that are judged piece by piece say for themselves what they cover; this says it of all together.
CREATE TABLE IF NOT EXISTS quality_watermarks {{ on_cluster }}
(
    judged LowCardinality(String) COMMENT 'A kind of window, or `hours`',
    covers_until DateTime64(3, 'UTC') COMMENT 'Whatever rows ingested before it changed is judged',
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {{ engine('ReplacingMergeTree(recorded_at)') }}
ORDER BY judged
COMMENT 'How far audits and metrics have followed late events and rebuilds'
