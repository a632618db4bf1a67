{% import 'clickhouse/contract/event.sql.jinja' as event %}
{% import 'clickhouse/contract/erased.sql.jinja' as erasure %}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- What the session of a rebuild holds.
CREATE TEMPORARY TABLE judged
(
    {{ rebuild.typed_columns }},
    kafka_timestamp DateTime64(3, 'UTC'),
    {{ event.typed(columns) }},
    failures Array(LowCardinality(String)),
    warnings Array(LowCardinality(String)),
    key String,
    value String,
    headers String,
    batch_id UInt64,
    ingested_at DateTime64(3, 'UTC')
)
ENGINE = Memory
;
-- Messages to judge although Kafka got them on another day.
CREATE TEMPORARY TABLE elsewhere
(
    {{ rebuild.typed_columns }},
    is_event Bool
)
ENGINE = Memory
;
-- Events of the shadow that are not in the day as it was.
CREATE TEMPORARY TABLE fresh
(
    {{ rebuild.typed_columns }},
    event_id UUID,
    received_at DateTime64(3, 'UTC'),
    ingested_at DateTime64(3, 'UTC')
)
ENGINE = Memory
;
CREATE TABLE {{ duplicates }}
(
    {{ rebuild.typed_columns }},
    detail String
)
ENGINE = MergeTree
ORDER BY (source_id, topic, topic_incarnation, partition, offset)
;
-- A range as Kafka gave it, and the micro-batches that it came in.
CREATE TEMPORARY TABLE fetched
(
    partition UInt32,
    offset UInt64,
    kafka_timestamp DateTime64(3, 'UTC'),
    key String,
    value String,
    headers String
)
ENGINE = Memory
;
CREATE TEMPORARY TABLE claims
(
    partition UInt32,
    first_offset UInt64,
    next_offset UInt64,
    batch_id UInt64,
    claimed_at DateTime64(3, 'UTC')
)
ENGINE = Memory
;
{{ erasure.tables() }}
