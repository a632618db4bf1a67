{# Made-up messages on which a new gate is tried. #}
SELECT
    'events' AS topic,
    0::UInt8 AS topic_incarnation,
    0::UInt32 AS partition,
    number AS offset,
    toDateTime64('2026-01-01 00:00:00', 3, 'UTC') AS kafka_timestamp,
    '' AS key,
    [
        '', '{}', '[]', 'null', '\xff',
        '{"event_id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","event":"page_view","timestamp":"2026-01-01T00:00:00Z","user_id":1}',
        '{"event_id":1,"event":null,"timestamp":[],"user_id":{},"page":"","device_info":{"a":1},"geo_location":[1]}'
    ][number + 1] AS value,
    '' AS headers
FROM numbers(7)
