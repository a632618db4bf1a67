{#- How a rollup that ingest feeds is materialized: by a materialized view; in a sandbox, whose events
    stand still, as a plain table, so that no sandbox hangs on ingest. -#}
{% macro on_insert() %}
    {{ return('table' if target.name == 'sandbox' else 'materialized_view') }}
{% endmacro %}

{#- Table settings of a rollup that ingest feeds: it remembers as many insert tokens as `events`
    does, so that a micro-batch repeated after a crash is neither doubled nor lost. -#}
{% macro rollup_settings() %}
    {%- if target.cluster -%}
        {{ return({'replicated_deduplication_window': 10000, 'ttl_only_drop_parts': 1}) }}
    {%- endif -%}
    {{ return({'non_replicated_deduplication_window': 10000, 'ttl_only_drop_parts': 1}) }}
{% endmacro %}
