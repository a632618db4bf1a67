-- How many rows each micro-batch is about to lose, and how many it will have left.
WITH touched AS (
{% for table in tables.values() | sum(start=[]) %}
    SELECT batch_id FROM {{ table }} WHERE {{ is_erased }}
{{ '    UNION DISTINCT' if not loop.last }}
{% endfor %}
)
SELECT
    batch_id,
{% for place in tables %}
    sumIf(gone, place = '{{ place }}'), sumIf(held - gone, place = '{{ place }}')
    {{- ',' if not loop.last }}
{% endfor %}
FROM (
{% for place, names in tables.items() %}
{% set is_last_place = loop.last %}
{% for table in names %}
    SELECT batch_id, '{{ place }}' AS place, countIf({{ is_erased }}) AS gone, count() AS held
    FROM {{ table }} WHERE batch_id IN (SELECT batch_id FROM touched) GROUP BY batch_id
{{ '    UNION ALL' if not (loop.last and is_last_place) }}
{% endfor %}
{% endfor %}
)
GROUP BY batch_id
