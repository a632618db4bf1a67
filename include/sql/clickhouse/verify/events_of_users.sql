{# The events of users, which the models are held against. #}
{% import 'clickhouse/verify/macros_of_users.sql.jinja' as of %}
SELECT
    user_id, toUnixTimestamp64Milli(event_time), event_id, toString(event_type), page,
    toString(country), toString(device)
FROM events
WHERE user_id IN ({{ of.users() }})
