{# topk and bottomk keep the series they choose, NaN last; of equal ones always the same. #}
SELECT t, labels, v
FROM (
    SELECT
        x.t AS t, x.labels AS labels, x.v AS v,
        row_number() OVER (PARTITION BY x.t, {{ signature }} ORDER BY isNaN(x.v), x.v {{ direction }}, x.labels) AS place
    FROM ({{ vector }}) AS x
)
WHERE place <= {{ argument }}
