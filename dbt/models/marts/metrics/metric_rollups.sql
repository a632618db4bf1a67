{#
  engine     none, a view of constants: the `rollups` of the metrics that _metrics__models.yml lists,
             and those that aggregation rules define
  why        the query API plans with it, so that it knows no rollup by name. A metric that lists no
             rollups is read from `metrics`: one that does not add up by its own windows only.
#}
-- depends_on: {{ ref('metrics') }}
-- noqa: disable=LT02,LT05
{% set metrics = graph.nodes['model.millrace.metrics'].config.meta.metrics if execute else [] -%}
{% for metric in metrics -%}
{% set long = {
    'model': 'metrics',
    'grain_seconds': metric.grain_seconds,
    'time': 'timestamp',
    'value': 'sum(value)' if metric.kind == 'sum' else 'any(value)',
    'condition': "metric_name = '" ~ metric.name ~ "'",
    'tables_of': metric.model,
    'is_divisible': metric.kind == 'sum',
} -%}
{% for rollup in metric.rollups or [long] -%}
{% set names = rollup.dimensions or metric.dimensions -%}
select
    '{{ metric.name }}' as metric_name,
    toUInt8({{ loop.index0 }}) as position,
    '{{ rollup.model }}' as model,
    toUInt32({{ rollup.grain_seconds or 0 }}) as grain_seconds,
    '{{ (rollup.time or "window_start") | replace("'", "''") }}' as time_column,
    '{{ rollup.value | replace("'", "''") }}' as value,
    '{{ (rollup.condition or "") | replace("'", "''") }}' as condition,
    '{{ (rollup.present or "") | replace("'", "''") }}' as present,
    cast(map(
        {#- A dimension is a column, or a name and its expression. -#}
        {%- for one in names -%}
            {%- set name = one if one is string else one.keys() | first -%}
            {%- set expression = name if one is string else one[name] -%}
            {%- if not metric.rollups %}{% set expression = "dimensions['" ~ name ~ "']" %}{% endif -%}
            '{{ name }}', '{{ expression | replace("'", "''") }}'{{ ', ' if not loop.last }}
        {%- endfor -%}
    ) as Map(String, String)) as dimensions,
    '{{ rollup.source or "" }}' as source_column,
    toBool({{ rollup.is_divisible | default(true) | lower }}) as is_divisible,
    cast({{ tables_of(rollup.tables_of or rollup.model) }} as Array(String)) as tables
union all
{% endfor -%}
{% endfor -%}
select
    metric_name,
    position,
    model,
    grain_seconds,
    time_column,
    value,
    condition,
    present,
    dimensions,
    source_column,
    is_divisible,
    tables
from {{ source('millrace', 'rule_metric_rollups') }}
