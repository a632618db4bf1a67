{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO {{ messages }}
SELECT * FROM raw_events
WHERE source_id IN {sources:Array(String)} AND toDate(ingested_at) NOT IN {gone:Array(Date)}
    AND (
        toDate(kafka_timestamp) = {day:Date}
        OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere)
    )
