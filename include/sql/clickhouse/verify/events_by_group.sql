{# Events by minute, country, device and type. #}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped %}
SELECT
    toUInt32(intDiv(toUnixTimestamp(event_time), 60)) AS minute,
    country,
    device,
    event_type,
    count() AS events
FROM ({{ scoped(target, 't.event_time AS event_time, t.country AS country, t.device AS device, t.event_type AS event_type', ranges) }})
GROUP BY minute, country, device, event_type
