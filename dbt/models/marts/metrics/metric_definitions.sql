{#
  engine     none, a view of constants, compiled from the `metrics` that _metrics__models.yml lists
  why        alerts and the query API learn here what may be asked, so that a metric added there is
             known everywhere
#}
-- depends_on: {{ ref('metrics') }}
{% set definitions = graph.nodes['model.millrace.metrics'].config.meta.metrics if execute else [] -%}
{% for metric in definitions -%}
select
    '{{ metric.name }}' as metric_name,
    '{{ metric.meaning | replace("'", "''") }}' as meaning,
    '{{ metric.unit }}' as unit,
    '{{ metric.kind }}' as kind,
    cast({{ metric.dimensions }} as Array(String)) as dimensions,
    toUInt32({{ metric.grain_seconds }}) as grain_seconds,
    '{{ metric.model }}' as model
{% if not loop.last %}union all{% endif %}
{% endfor -%}
{%- if not definitions -%}
select
    '' as metric_name, '' as meaning, '' as unit, '' as kind,
    cast([] as Array(String)) as dimensions, toUInt32(0) as grain_seconds, '' as model
where false
{%- endif %}
