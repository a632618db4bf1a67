-- Under which generations of their tokens micro-batches were written anew. A ledger that is restored
-- from a backup no longer knows; the tables' tokens do, and would let rows in twice, or not at all.
CREATE TABLE IF NOT EXISTS batch_generations {{ on_cluster }}
(
    source_id LowCardinality(String),
    batch_id UInt64 COMMENT 'Micro-batch in the ingest ledger',
    claimed_at DateTime64(3, 'UTC') COMMENT 'Tells it from another one that was given the same number',
    generation UInt32 COMMENT 'Part of the deduplication token; those of the first writing are not noted'
)
ENGINE = {{ engine() }}
ORDER BY (source_id, batch_id, claimed_at)
TTL toDateTime(claimed_at) + INTERVAL {{ raw_retention_days + 7 }} DAY
COMMENT 'Generations of micro-batches that were written more than once'
