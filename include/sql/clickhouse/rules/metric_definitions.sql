{# What the metrics of aggregation rules mean. #}
{% for one in aggregations %}
SELECT
    {{ literal(one.name) }} AS metric_name,
    {{ literal(one.meaning) }} AS meaning,
    {{ literal(one.unit) }} AS unit,
    '{{ one.kind }}' AS kind,
    CAST([{% for name in one.dimensions %}{{ literal(name) }}{{ '' if loop.last else ', ' }}{% endfor %}], 'Array(String)') AS dimensions,
    toUInt32({{ one.minutes * 60 }}) AS grain_seconds,
    'rule_metrics' AS model
{% if not loop.last %}
UNION ALL
{% endif %}
{% else %}
SELECT
    '' AS metric_name, '' AS meaning, '' AS unit, '' AS kind,
    CAST([], 'Array(String)') AS dimensions, toUInt32(0) AS grain_seconds, '' AS model
WHERE 0
{% endfor %}
