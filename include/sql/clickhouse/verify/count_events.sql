{# How many events a table has. #}
SELECT count() AS events
FROM {{ target }}
