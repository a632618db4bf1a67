INSERT INTO event_id_register (event_hash, position, ingested_hour)
SELECT
    sipHash64('{{ target }}', event_id),
    {{ source_number }} * exp2(56)::UInt64
        + (topic_incarnation % 16) * exp2(52)::UInt64
        + (partition % 16384) * exp2(38)::UInt64
        + offset % exp2(38)::UInt64,
    toUInt32(toUnixTimestamp(ingested_at) / 3600)
FROM {{ target }}
WHERE source_id = {source_id:String} AND ingested_at >= {horizon:DateTime64(3, 'UTC')}
