-- Up to when the ledger vouches that everything claimed has been published. Written before every
-- dbt run; incremental models start from the newest value that their last rows were built with.
CREATE TABLE IF NOT EXISTS published_through {{ on_cluster }}
(
    published_through DateTime64(3, 'UTC') COMMENT 'Rows ingested before this moment are all in events',
    recorded_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the ledger was asked'
)
ENGINE = {{ engine() }}
ORDER BY published_through
TTL toDateTime(recorded_at) + INTERVAL 30 DAY
COMMENT 'Watermarks of ingest, for incremental models'
;
-- Days whose partition of `events` was swapped. Whoever swaps one leaves a mark under the same
-- exclusive publication lock; incremental models then build that day anew.
CREATE TABLE IF NOT EXISTS rebuilt_days {{ on_cluster }}
(
    day Date COMMENT 'Partition of events (UTC)',
    rebuilt_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the partition was swapped',
    reason String COMMENT 'Who or what asked for it'
)
ENGINE = {{ engine() }}
ORDER BY (day, rebuilt_at)
COMMENT 'Swapped days of events, for incremental models'
;
-- Watermarks that every model was built with and passed its tests; while nothing came after the
-- newest, there is nothing to build.
CREATE TABLE IF NOT EXISTS finished_builds {{ on_cluster }}
(
    built_through DateTime64(3, 'UTC') COMMENT 'A row of published_through',
    finished_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When the last model was built'
)
ENGINE = {{ engine() }}
ORDER BY built_through
TTL toDateTime(finished_at) + INTERVAL 30 DAY
COMMENT 'Complete runs of build_models'
