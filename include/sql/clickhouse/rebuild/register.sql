{% import 'clickhouse/contract/positions.sql.jinja' as position %}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Events that were rejected before are held against later copies like any other.
INSERT INTO event_id_register (event_hash, position, ingested_hour)
SELECT
    {{ position.hash(target_name) }},
    {{ position.encode('{source_number:UInt64}') }},
    toUInt32(toUnixTimestamp(ingested_at) / 3600)
FROM {{ shadow }}
WHERE source_id = {source_id:String} AND ingested_at >= {horizon:DateTime64(3, 'UTC')}
    AND {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM fresh)
