{% import 'clickhouse/contract/event.sql.jinja' as event %}
{% import 'clickhouse/contract/positions.sql.jinja' as position %}
{% import 'clickhouse/contract/erased.sql.jinja' as erasure %}
-- What a worker's HTTP session holds while it loads a micro-batch.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming
(
    partition UInt32,
    offset UInt64,
    kafka_timestamp DateTime64(3, 'UTC'),
    key String,
    value String,
    headers String,
    topic String DEFAULT '{{ topic }}',
    topic_incarnation UInt8 DEFAULT {{ incarnation }}
)
ENGINE = Memory
;
CREATE TEMPORARY TABLE IF NOT EXISTS staged
(
    topic String,
    topic_incarnation UInt8,
    partition UInt32,
    offset UInt64,
    kafka_timestamp DateTime64(3, 'UTC'),
    {{ event.typed(columns) }},
    failures Array(LowCardinality(String)),
    warnings Array(LowCardinality(String)),
    detail String,
    event_hash UInt64 DEFAULT {{ position.hash(target) }},
    position UInt64 DEFAULT {{ position.encode(source_number) }}
)
ENGINE = Memory
;
CREATE TEMPORARY TABLE IF NOT EXISTS refused
(
    partition UInt32,
    offset UInt64,
    failures Array(LowCardinality(String)),
    detail String
)
ENGINE = Memory
;
-- On a repeat: what earlier attempts already put where ('raw', 'event', 'rejected').
CREATE TEMPORARY TABLE IF NOT EXISTS present
(
    place LowCardinality(String),
    partition UInt32,
    offset UInt64
)
ENGINE = Memory
;
{{ erasure.tables() }}
