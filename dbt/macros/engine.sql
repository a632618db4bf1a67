{#- Takes the place of dbt-clickhouse's macro: a model names its engine once, and on a cluster it is the
    replicated one. -#}
{% macro engine_clause() -%}
    {%- set engine = config.get('engine', default='MergeTree()') -%}
    engine = {{ 'Replicated' if target.cluster and 'MergeTree' in engine else '' }}{{ engine }}
{%- endmacro %}
