{#- How a rollup that ingest feeds is materialized: by a materialized view; in a sandbox, whose events
    stand still, as a plain table, so that no sandbox hangs on ingest. -#}
{% macro on_insert() %}
    {{ return('table' if target.name == 'sandbox' else 'materialized_view') }}
{% endmacro %}

{#- Table settings of a rollup that ingest feeds: it remembers as many insert tokens as `events`
    does, so that a micro-batch repeated after a crash is neither doubled nor lost.

    merged_early   parts are merged by twos rather than by tens, which leaves a key a row or two to
                   be read; for coarse rollups, whose parts are small -#}
{% macro rollup_settings(merged_early=false) %}
    {%- set window = 'replicated' if target.cluster else 'non_replicated' -%}
    {%- set settings = compact() -%}
    {%- do settings.update({window ~ '_deduplication_window': 10000, 'ttl_only_drop_parts': 1}) -%}
    {%- if merged_early -%}{%- do settings.update({'merge_selector_base': 2}) -%}{%- endif -%}
    {{ return(settings) }}
{% endmacro %}

{#- The configuration of a rollup that ingest feeds: sums that merges add up, time first unless another
    order is given, and a partition a day (UTC), so that rebuilding a day of events swaps a day of this.

    dimensions     what its sums are told apart by, besides the time
    days           for how long it is kept, unless events are kept longer
    merged_early   as rollup_settings has it
    order_by       its order key, where not the time and then the dimensions
    primary_key    what of it is in the index, where not all -#}
{% macro rollup(dimensions, days, merged_early=false, order_by=none, primary_key=none) %}
    {{ return({
        'materialized': on_insert(),
        'engine': 'SummingMergeTree',
        'order_by': order_by or ['window_start'] + dimensions,
        'primary_key': primary_key,
        'partition_by': 'toDate(window_start)',
        'ttl': 'window_start + interval ' ~ kept_days(days) ~ ' day',
        'settings': rollup_settings(merged_early=merged_early),
        'catchup': target.name != 'analytics_shadow',
    }) }}
{% endmacro %}

{#- A coarser rollup, from the rows that were just added to a finer one.

    source      the finer rollup, as ref('…')
    window      ClickHouse's function that gives the start of a window
    dimensions  columns that are kept
    value       the column that is added up -#}
{% macro coarser(source, window, dimensions, value) -%}
select
    {{ window }}(finer.window_start) as window_start,
    {{ dimensions | join(',\n    ') }},
    sum(finer.{{ value }}) as {{ value }}
from {{ source }} as finer
group by window_start, {{ dimensions | join(', ') }}
{%- endmacro %}
