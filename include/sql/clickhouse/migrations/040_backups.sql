-- Where messages were that an erasure took. It goes back and forth in time with the tables that it
-- speaks of, since it is backed up and restored with them; it names nobody.
CREATE TABLE IF NOT EXISTS erased_positions {{ on_cluster }}
(
    topic LowCardinality(String),
    topic_incarnation UInt8,
    partition UInt32,
    offset UInt64,
    erasure_id UInt64 COMMENT 'Row of erasures, in PostgreSQL: the receipt',
    erased_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = {{ engine('ReplacingMergeTree') }}
ORDER BY (topic, topic_incarnation, partition, offset)
TTL toDateTime(erased_at) + INTERVAL {{ events_retention_days }} DAY
COMMENT 'Offsets that are missing on purpose: verify knows them'
