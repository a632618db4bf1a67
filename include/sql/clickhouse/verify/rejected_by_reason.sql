{# Rejected messages by reason. #}
{% from 'clickhouse/verify/macros.sql.jinja' import scoped %}
SELECT reason, count() AS messages
FROM ({{ scoped('rejected_events', 't.reason AS reason', ranges) }})
GROUP BY reason
