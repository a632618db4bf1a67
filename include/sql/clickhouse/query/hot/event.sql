-- An event by its id. No index has it: a day in which it happened, if known, saves the others.
SELECT
    event_id, event_time, event_type, user_id, page, country, device, properties, device_info,
    geo_location, warnings, received_at, ingested_at, source_id, topic, partition, offset
FROM events
WHERE event_id = {event_id:UUID}
    AND ({is_all:Bool} OR source_id IN {sources:Array(String)})
    AND (isNull({day:Nullable(Date)}) OR toDate(event_time) = {day:Nullable(Date)})
LIMIT 1
SETTINGS date_time_output_format = 'iso'
