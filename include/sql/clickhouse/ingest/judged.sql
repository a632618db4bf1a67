{# What of a micro-batch is refused, and which views its events will meet. #}
SELECT
    (SELECT uniqExact(partition, offset) FROM refused) AS refused,
    views
FROM (
{% include 'clickhouse/ingest/views.sql' %}

)
