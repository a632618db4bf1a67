{# What of a micro-batch is refused, and which views its events will meet. The counts tell an empty
   session, in which a guard in a WHERE is never asked. #}
SELECT
    (SELECT count() FROM incoming) AS incoming,
    (SELECT count() FROM staged) AS staged,
    (SELECT uniqExact(partition, offset) FROM refused) AS refused,
    views
FROM (
{% include 'clickhouse/ingest/views.sql' %}

)
