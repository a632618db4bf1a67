{# Messages of the day by verdict. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
SELECT 'event' AS verdict, count() AS messages FROM {{ events }}
WHERE toDate(event_time) = {day:Date}
UNION ALL
SELECT reason, count() FROM {{ rejected }}
WHERE toDate(kafka_timestamp) = {day:Date} AND source_id IN {sources:Array(String)}
GROUP BY reason
