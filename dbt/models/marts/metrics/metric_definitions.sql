{#
  engine     none, a view of constants: the `metrics` that _metrics__models.yml lists, and those that
             aggregation rules define
  why        alerts and the query API learn here what may be asked, so that a metric added there is
             known everywhere
#}
-- depends_on: {{ ref('metrics') }}
{% set metrics = graph.nodes['model.millrace.metrics'].config.meta.metrics if execute else [] -%}
{% for metric in metrics -%}
select
    '{{ metric.name }}' as metric_name,
    '{{ metric.meaning | replace("'", "''") }}' as meaning,
    '{{ metric.unit }}' as unit,
    '{{ metric.kind }}' as kind,
    cast({{ metric.dimensions }} as Array(String)) as dimensions,
    toUInt32({{ metric.grain_seconds }}) as grain_seconds,
    '{{ metric.model }}' as model,
    toBool({{ metric.is_sampled | default(true) | lower }}) as is_sampled
union all
{% endfor -%}
select
    metric_name,
    meaning,
    unit,
    kind,
    dimensions,
    grain_seconds,
    model,
    true as is_sampled
from {{ source('millrace', 'rule_metric_definitions') }}
