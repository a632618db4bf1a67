SELECT count() AS events
FROM {{ target }}
