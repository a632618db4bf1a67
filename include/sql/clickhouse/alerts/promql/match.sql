{# Two vectors matched by signature; `many` may hold several series of a signature, `one` only one. #}
{% set key = 'signature' if is_one_to_one else 'labels' %}
SELECT t, {{ 'any(labels) AS labels' if is_one_to_one else 'labels' }}, any(v) AS v
FROM (
    SELECT m.t AS t, {{ labels }} AS labels, {{ value }} AS v, m.signature AS signature
    FROM (SELECT x.t AS t, x.labels AS labels, x.v AS v, {{ signature }} AS signature FROM ({{ many }}) AS x) AS m
    INNER JOIN (
        SELECT t, signature, any(labels) AS labels, any(v) AS v
        FROM (SELECT x.t AS t, x.labels AS labels, x.v AS v, {{ signature }} AS signature FROM ({{ one }}) AS x)
        GROUP BY t, signature
        HAVING throwIf(count() > 1, 'found duplicate series for the match group: many-to-many matching not allowed') = 0
    ) AS o ON m.t = o.t AND m.signature = o.signature
    {% if condition %}WHERE {{ condition }}{% endif %}

)
GROUP BY t, {{ key }}
HAVING throwIf(count() > 1, 'multiple matches for labels: matching must be unique or explicit (group_left/group_right)') = 0
