-- What was received, byte for byte. One partition per block: `ingested_at` is the moment its
-- micro-batch was claimed, the same for all its rows, so that a block is atomic.
CREATE TABLE IF NOT EXISTS raw_events {{ on_cluster }}
(
    source_id LowCardinality(String) COMMENT 'Row of data_sources that it came through',
    topic LowCardinality(String),
    topic_incarnation UInt8 COMMENT 'Counts how often the topic was deleted and created anew',
    partition UInt32,
    offset UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When Kafka got it',
    key String,
    value String,
    headers String COMMENT 'Kafka headers as a JSON array of [name, base64 value]; empty if none',
    batch_id UInt64 COMMENT 'Micro-batch in the ingest ledger',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When its micro-batch was claimed'
)
ENGINE = {{ engine() }}
PARTITION BY toDate(ingested_at)
ORDER BY (source_id, topic, topic_incarnation, partition, offset)
TTL toDateTime(ingested_at) + INTERVAL {{ raw_retention_days }} DAY
SETTINGS {{ deduplication_setting }} = 10000, ttl_only_drop_parts = 1
COMMENT 'Every consumed message as received'
;
-- Valid, deduplicated events. Partitioned by day so that a rebuild can swap a day. The codecs save a
-- quarter of the bytes of the defaults and cost inserts nothing that could be measured.
CREATE TABLE IF NOT EXISTS events {{ on_cluster }}
(
    event_id UUID CODEC(NONE), -- random
    event_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    event_type LowCardinality(String) CODEC(ZSTD(1)),
    user_id UInt64 CODEC(Delta, ZSTD(1)),
    page String CODEC(ZSTD(1)),
    country LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'ISO 3166-1 alpha-2, from the event, else the profile',
    device LowCardinality(String) CODEC(ZSTD(1)),
    properties Map(LowCardinality(String), String) CODEC(ZSTD(1))
        COMMENT 'Every field the contract does not name',
    device_info Map(LowCardinality(String), String),
    geo_location Map(LowCardinality(String), String),
    warnings Array(LowCardinality(String)) COMMENT 'Failures of rules that warn, reason|field|rule',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When Kafka got it',
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When its micro-batch was claimed',
    source_id LowCardinality(String),
    topic LowCardinality(String),
    topic_incarnation UInt8,
    partition UInt32 CODEC(T64, ZSTD(1)),
    offset UInt64 CODEC(Delta, ZSTD(1)),
    batch_id UInt64 CODEC(Delta, ZSTD(1)),
    -- A part holds a short run of arrivals, so these skip almost all parts of the table.
    INDEX arrival ingested_at TYPE minmax GRANULARITY 8,
    INDEX origin offset TYPE minmax GRANULARITY 8
)
ENGINE = {{ engine() }}
PARTITION BY toDate(event_time)
ORDER BY (user_id, event_time)
TTL toDateTime(event_time) + INTERVAL {{ events_retention_days }} DAY
SETTINGS {{ deduplication_setting }} = 10000, ttl_only_drop_parts = 1
COMMENT 'Valid events, each once'
;
-- What could not be used, whole and with every reason.
CREATE TABLE IF NOT EXISTS rejected_events {{ on_cluster }}
(
    source_id LowCardinality(String),
    topic LowCardinality(String),
    topic_incarnation UInt8,
    partition UInt32,
    offset UInt64,
    kafka_timestamp DateTime64(3, 'UTC'),
    key String,
    value String,
    headers String,
    reason LowCardinality(String) COMMENT 'First failure; docs/rejection-reasons.md lists them all',
    field LowCardinality(String) COMMENT 'Field of the first failure; empty if it has none',
    rule LowCardinality(String) COMMENT 'Name of the rule that the first failure broke',
    failures Array(LowCardinality(String)) COMMENT 'Every failure as reason|field|rule',
    detail String COMMENT 'What a person needs to know, such as where the first copy is',
    batch_id UInt64,
    rejected_at DateTime64(3, 'UTC') COMMENT 'When its micro-batch was claimed'
)
ENGINE = {{ engine() }}
PARTITION BY toDate(rejected_at)
ORDER BY (source_id, topic, topic_incarnation, partition, offset)
TTL toDateTime(rejected_at) + INTERVAL {{ events_retention_days }} DAY
SETTINGS {{ deduplication_setting }} = 10000, ttl_only_drop_parts = 1
COMMENT 'Consumed messages that are not in events, with their reasons'
;
-- First writer wins: which position an event_id was first seen at. Held in memory, filled again
-- from `events` when the server starts (docs/decisions/0003 says why a Join table).
CREATE TABLE IF NOT EXISTS event_id_register {{ on_cluster }}
(
    event_hash UInt64 COMMENT 'sipHash64(target table, event_id); 0 is the sentinel',
    position UInt64 COMMENT 'source << 56 | incarnation << 52 | partition << 38 | offset',
    ingested_hour UInt32 COMMENT 'Hours since 1970 of its arrival, for expiry'
)
ENGINE = Join(ANY, LEFT, event_hash)
SETTINGS persistent = 0
COMMENT 'Event ids held for duplicate detection'
