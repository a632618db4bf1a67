{# The values of the metrics of aggregation rules. #}
{% for one in aggregations %}
SELECT
    toDateTime(toStartOfInterval(event_time, toIntervalMinute({{ one.minutes }})), 'UTC') AS timestamp,
    toLowCardinality({{ literal(one.name) }}) AS metric_name,
    toFloat64({{ one.value }}) AS value,
    CAST(
        map({% for name, text in one.dimensions.items() %}{{ literal(name) }}, {{ text }}{{ '' if loop.last else ', ' }}{% endfor %}),
        'Map(LowCardinality(String), String)'
    ) AS dimensions
FROM events
{% if one.condition %}
WHERE {{ one.condition }}
{% endif %}
GROUP BY timestamp{% for text in one.dimensions.values() %}, {{ text }}{% endfor %}

HAVING {{ one.present }}
{% if not loop.last %}
UNION ALL
{% endif %}
{% else %}
SELECT
    toDateTime(0, 'UTC') AS timestamp,
    toLowCardinality('') AS metric_name,
    toFloat64(0) AS value,
    CAST(map(), 'Map(LowCardinality(String), String)') AS dimensions
WHERE 0
{% endfor %}
