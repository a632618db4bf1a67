{# Partitions with a verdict on the day. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
SELECT source_id, partition FROM {{ target }}
WHERE toDate(event_time) = {day:Date} AND source_id IN {sources:Array(String)}
UNION DISTINCT
SELECT source_id, partition FROM rejected_events
WHERE toDate(kafka_timestamp) = {day:Date} AND source_id IN {sources:Array(String)}
