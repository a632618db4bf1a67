{#
  The result of a PromQL expression as Prometheus' API writes it: a row a series, sorted by labels
  or, where the expression sorts (`order`), by value. A point is [seconds, "value"].
  `statement` and `kind` are of millrace.alerts.promql.Compiled; at one time (`is_instant`) a series
  of a vector has one point. `most_points` bounds the answer.
#}
{% macro point(t, v) %}({{ t }} / 1000, multiIf(isNaN({{ v }}), 'NaN', {{ v }} = inf, '+Inf', {{ v }} = -inf, '-Inf', toString({{ v }}))){% endmacro %}
SELECT metric, {{ 'points[1] AS value' if is_instant and kind != 'matrix' else 'points AS values' }}
FROM (
    SELECT
        labels AS metric,
        arrayMap(p -> {{ point('p.1', 'p.2') }}, pairs) AS points,
        pairs[1].2 AS first_value,
        sum(length(pairs)) OVER () AS total
    FROM (
{% if kind == 'matrix' %}
        SELECT labels, arrayZip(ts, vs) AS pairs FROM ({{ statement }}) LIMIT {{ most_points + 1 }}
{% else %}
        SELECT labels, arraySort(groupArray((t, v))) AS pairs
        FROM (SELECT t, labels, v FROM ({{ statement }}) LIMIT {{ most_points + 1 }})
        GROUP BY labels
{% endif %}
    )
)
WHERE throwIf(total > {{ most_points }}, 'the answer has more than {{ most_points }} points: aggregate it, or ask for a longer step') = 0
ORDER BY {% if order %}isNaN(first_value), first_value {{ order }}, {% endif %}mapKeys(metric), mapValues(metric)
{% if limit %}
LIMIT {{ limit + 1 }}
{% endif %}
SETTINGS output_format_json_validate_utf8 = 1
