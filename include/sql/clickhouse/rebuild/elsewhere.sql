{# Messages that came on another day and are events of this one, or may be. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO elsewhere
SELECT DISTINCT {{ rebuild.columns }}, true FROM {{ target }}
WHERE toDate(event_time) = {day:Date} AND toDate(received_at) != {day:Date}
    AND source_id IN {sources:Array(String)} AND {{ rebuild.covered() }}
UNION ALL
SELECT DISTINCT {{ rebuild.columns }}, false FROM rejected_events
WHERE toDate(kafka_timestamp) != {day:Date}
    AND toDate(kafka_timestamp) BETWEEN {day:Date} - 1 AND {day:Date} + {reach:UInt16}
    AND source_id IN {sources:Array(String)} AND {{ rebuild.covered() }}
