{#
  A metric's values by bucket and group. Each part is what one rollup gives: rows in `runs` of time,
  by the pieces of buckets that they fall in.
    adds_up   pieces of a bucket are added up; where values do not add up, a bucket is one piece
    totals    the groups that are wanted (the statement totals.sql), if not all; rows of what does not
              add up come in their order
#}
{% macro numbers(part) %}
SELECT
    {% if part.step %}
    toUInt32({{ part.index }} + intDiv(toUnixTimestamp({{ part.rollup.time }}) - {{ part.first }}, {{ part.step }})) AS bucket,
    {% elif part.indexes | length == 1 %}
    toUInt32({{ part.indexes[0] }}) AS bucket,
    {% else %}
    transform(
        toUInt32(roundDown(toUnixTimestamp({{ part.rollup.time }}), {{ part.starts }})),
        {{ part.starts }}, {{ part.indexes }}, 0
    )::UInt32 AS bucket,
    {% endif %}
    {% for name in group_by %}
    toString({{ part.rollup.dimensions[name] }}) AS group_{{ loop.index0 }},
    {% endfor %}
    {{ part.rollup.value }} AS metric_value
FROM {{ part.rollup.relation }}
WHERE
    (
        {%- for start, end in part.runs %}
        {{- 'OR ' if not loop.first }}{{ part.rollup.time }} >= '{{ start }}' AND {{ part.rollup.time }} < '{{ end }}'
        {% endfor -%}
    )
    {% for condition in part.conditions %}
    AND ({{ condition }})
    {% endfor %}
    {% if totals %}
    AND ({% for name in group_by %}toString({{ part.rollup.dimensions[name] }}){{ ', ' if not loop.last }}{% endfor %}) IN (
        SELECT {{ groups }} FROM (
            {{ totals }}
        )
    )
    {% endif %}
GROUP BY bucket{% for name in group_by %}, group_{{ loop.index0 }}{% endfor %}

{% if part.rollup.present %}
HAVING {{ part.rollup.present }}
{% endif %}
{% endmacro %}
SELECT bucket, {% if group_by %}{{ groups }}, {% endif %}{{ 'sum(metric_value)' if adds_up else 'metric_value' }} AS value
FROM (
{% for part in parts %}
{{ numbers(part) }}
{{ 'UNION ALL' if not loop.last }}
{% endfor %}
)
{% if adds_up %}
GROUP BY bucket{{ ', ' ~ groups if group_by }}
{% endif %}
ORDER BY
    {% if totals and not adds_up %}
    indexOf((SELECT groupArray(tuple({{ groups }})) FROM ({{ totals }})), tuple({{ groups }})),
    {% endif %}
    bucket{{ ', ' ~ groups if group_by }}
