{# sum, avg, … by or without labels: the series of a step with the same signature become one. #}
SELECT t, signature AS labels, {{ value }} AS v
FROM (SELECT x.t AS t, {{ signature }} AS signature, x.v AS v FROM ({{ vector }}) AS x)
GROUP BY t, signature
