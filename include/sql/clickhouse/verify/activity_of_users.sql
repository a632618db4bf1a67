{# What the model says of users' activity. #}
{% import 'clickhouse/verify/macros_of_users.sql.jinja' as of %}
SELECT
    user_id, toInt64(toUnixTimestamp(window_start)) * 1000 AS start, events,
    arrayMap(type -> toString(type), event_types)
FROM analytics.int_user_activity_versions FINAL
WHERE user_id IN ({{ of.users() }}) AND start >= {since:Int64}
