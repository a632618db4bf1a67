{# Events at some positions, as a manifest's rows spell them. -#}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped %}
SELECT
    toString(event_id), toUnixTimestamp64Milli(event_time), toString(event_type), user_id, page,
    toString(country), toString(device)
FROM ({{ scoped(target, 't.event_id AS event_id, t.event_time AS event_time, t.event_type AS event_type, t.user_id AS user_id, t.page AS page, t.country AS country, t.device AS device', ranges) }})
