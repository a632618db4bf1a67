{#- One branch of `metrics`: a metric of one rollup in the long form.

    name        metric_name, as in _metrics__models.yml
    relation    the rollup, as ref('…')
    value       an aggregate over the rollup's rows of one window and set of dimensions
    dimensions  columns of the rollup, which become the keys of the map
    time        the rollup's window column
    where       which rows count, if not all -#}
{% macro metric(name, relation, value, dimensions, time='window_start', where=none) -%}
    select
        {{ time }} as timestamp,
        toLowCardinality('{{ name }}') as metric_name,
        toFloat64({{ value }}) as value,
        cast(map(
            {%- for dimension in dimensions -%}
                '{{ dimension }}', toString({{ dimension }}){{ ', ' if not loop.last }}
            {%- endfor -%}
        ) as Map(LowCardinality(String), String)) as dimensions
    from {{ relation }}
    {%- if where %}
    where {{ where }}
    {%- endif %}
    group by timestamp, {{ dimensions | join(', ') }}
{%- endmacro %}
