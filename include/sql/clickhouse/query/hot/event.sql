-- An event by its id. No index has it; days and parts are left out by the day in which it happened, if
-- that is known, or by where it is (`event_place.sql`), which the indexes `arrival` and `origin` tell.
SELECT
    event_id, event_time, event_type, user_id, page, country, device, properties, device_info,
    geo_location, warnings, received_at, ingested_at, source_id, topic, partition, offset
FROM events
WHERE event_id = {event_id:UUID}
    AND ({is_all:Bool} OR source_id IN {sources:Array(String)})
    AND (isNull({day:Nullable(Date)}) OR toDate(event_time) = {day:Nullable(Date)})
{% if is_placed %}
    AND offset = {offset:UInt64}
    AND ingested_at >= fromUnixTimestamp64Milli({arrived_ms:Int64}, 'UTC')
    AND ingested_at < fromUnixTimestamp64Milli({arrived_ms:Int64} + 3600000, 'UTC')
{% endif %}
LIMIT 1
SETTINGS date_time_output_format = 'iso'
