{# Gather the day's messages from an hour of the raw archive. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO {{ gathered }}
SELECT * FROM s3({{ collection }}, filename = '{{ prefix }}*.parquet', format = 'Parquet')
WHERE source_id IN {sources:Array(String)}
    AND (
        {day:Date} IN (toDate(kafka_timestamp), toDate(ingested_at))
        OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere)
    )
    AND {{ rebuild.place }} NOT IN (
        SELECT {{ rebuild.columns }} FROM {{ gathered }}
        WHERE ingested_at >= {window_start:DateTime64(3, 'UTC')}
            AND ingested_at < {window_end:DateTime64(3, 'UTC')}
    )
