{# Gather the day's messages from raw_events. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO {{ gathered }}
SELECT * FROM raw_events
WHERE source_id IN {sources:Array(String)}
    AND (
        {day:Date} IN (toDate(kafka_timestamp), toDate(ingested_at))
        OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere)
    )
