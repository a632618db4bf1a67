{# Events of the day that arrived since the rebuild began. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO {{ arrived }}
SELECT * FROM {{ target }}
WHERE toDate(event_time) = {day:Date} AND NOT ({{ rebuild.covered() }})
