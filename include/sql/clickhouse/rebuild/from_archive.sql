{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO {{ messages }}
SELECT * FROM s3({{ collection }}, filename = '{{ prefix }}*.parquet', format = 'Parquet')
WHERE source_id IN {sources:Array(String)}
    AND (
        toDate(kafka_timestamp) = {day:Date}
        OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere)
    )
SETTINGS s3_validate_etag_on_read = 0
