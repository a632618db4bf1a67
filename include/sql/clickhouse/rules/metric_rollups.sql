{# Where the metrics of aggregation rules are computed: over events, so for any range and filter. #}
{% for one in aggregations %}
SELECT
    {{ literal(one.name) }} AS metric_name,
    toUInt8(0) AS position,
    'events' AS model,
    toUInt32(0) AS grain_seconds,
    'event_time' AS time_column,
    {{ literal(one.value) }} AS value,
    {{ literal(one.condition) }} AS condition,
    {{ literal(one.present) }} AS present,
    CAST(
        map({% for name, text in one.dimensions.items() %}{{ literal(name) }}, {{ literal(text) }}{{ '' if loop.last else ', ' }}{% endfor %}),
        'Map(String, String)'
    ) AS dimensions,
    'source_id' AS source_column,
    true AS is_divisible,
    CAST(['events'], 'Array(String)') AS tables
{% if not loop.last %}
UNION ALL
{% endif %}
{% else %}
SELECT
    '' AS metric_name, toUInt8(0) AS position, '' AS model, toUInt32(0) AS grain_seconds,
    '' AS time_column, '' AS value, '' AS condition, '' AS present,
    CAST(map(), 'Map(String, String)') AS dimensions, '' AS source_column, true AS is_divisible,
    CAST([], 'Array(String)') AS tables
WHERE 0
{% endfor %}
