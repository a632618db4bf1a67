{#- Takes the place of dbt-clickhouse's macro, which alters a view at every run, changed or not: an
    altered view has another identity for deduplication, and a micro-batch that is repeated across
    the change must be made good. Whether and how a view hangs on ingest is a deployment's business
    (`./millrace dbt deploy`); one that threw and was taken out stays out until then. -#}
{% macro clickhouse__update_mv(mv_relation, target_relation, cluster_clause, refreshable_clause, view_sql) -%}
    {{ log('leaving ' ~ mv_relation ~ ' as it is', info=False) }}
{%- endmacro %}

{#- Takes the place of dbt-clickhouse's macro: a deployment makes a rollup's table with dbt, tries it,
    and hangs its view on ingest by itself. -#}
{% macro clickhouse__create_mv(
    mv_relation, target_relation, cluster_clause, refreshable_clause, view_sql, is_main_statement=False
) -%}
    {%- if target.name != 'analytics_shadow' -%}
        {%- call statement('main' if is_main_statement else 'create ' ~ mv_relation.name) -%}
            create materialized view if not exists {{ mv_relation }} {{ cluster_clause }}
            {{ refreshable_clause }}
            to {{ target_relation }}
            as {{ view_sql }}
        {%- endcall -%}
    {%- endif -%}
{%- endmacro %}
