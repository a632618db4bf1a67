{# What the model says of users' sessions. #}
{% import 'clickhouse/verify/macros_of_users.sql.jinja' as of %}
SELECT
    user_id, toUnixTimestamp64Milli(started_at) AS start, toUnixTimestamp64Milli(ended_at), events,
    page_views, entry_page, exit_page, toString(country), toString(device)
FROM analytics.int_session_versions FINAL
WHERE user_id IN ({{ of.users() }}) AND start >= {since:Int64}
