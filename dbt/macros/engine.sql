{#- Takes the place of dbt-clickhouse's macro: a model names its engine once, and on a cluster it is the
    replicated one. -#}
{% macro engine_clause() -%}
    {%- set engine = config.get('engine', default='MergeTree()') -%}
    engine = {{ 'Replicated' if target.cluster and 'MergeTree' in engine else '' }}{{ engine }}
{%- endmacro %}

{#- For how many days a table is kept that is built from events: so long, and never shorter than events
    themselves, since a late event or a rebuild makes the rows of its day anew. -#}
{% macro kept_days(days) %}
    {{ return([days, env_var('MILLRACE_DBT_EVENTS_RETENTION_DAYS', '90') | int] | max) }}
{% endmacro %}

{#- Table settings of a model with many rows: ZSTD in place of LZ4. -#}
{% macro compact() %}
    {{ return({'default_compression_codec': "'ZSTD(1)'"}) }}
{% endmacro %}
