{# How many messages of each micro-batch were gathered. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
SELECT batch_id, count() FROM {{ gathered }}
WHERE toDate(ingested_at) = {day:Date}
GROUP BY batch_id
