{% import 'clickhouse/contract/positions.sql.jinja' as position %}
-- The ids of events that are there already, each with its first place.
INSERT INTO event_id_register (event_hash, position, ingested_hour)
SELECT
    {{ position.hash(target) }},
    {{ position.encode(source_number) }},
    toUInt32(toUnixTimestamp(ingested_at) / 3600)
FROM {{ target }}
WHERE source_id = {source_id:String} AND ingested_at >= {horizon:DateTime64(3, 'UTC')}
