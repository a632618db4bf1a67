{# quantile by or without labels, interpolated between neighbours as Prometheus does. #}
SELECT t, signature AS labels, {{ value }} AS v
FROM (
    SELECT t, signature, groupArray(v) AS vs, {{ argument }} AS argument
    FROM (SELECT x.t AS t, {{ signature }} AS signature, x.v AS v FROM ({{ vector }}) AS x)
    GROUP BY t, signature
)
