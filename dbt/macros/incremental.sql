{#- What incremental models have in common.

    A run reads rows that were ingested since the newest moment that earlier rows of the model were
    built with, works out which of its keys they touch, and builds those keys anew from all of
    their events. Rows are new versions (ReplacingMergeTree): nothing is deleted before its
    successor is there, and running twice changes nothing. A key that vanished gets a row with
    is_deleted = 1. -#}

{#- Rows ingested before this moment are all in `events`: the ledger says so. -#}
{% macro built_through() -%}
    assumeNotNull((select max(published_through) from {{ source('millrace', 'published_through') }}))
{%- endmacro %}

{#- The newest moment that rows of this model were built with; 1970 if there are none. -#}
{% macro built_since() -%}
    {{ built_through_of(this) }}
{%- endmacro %}

{#- The newest moment that rows of another incremental model were built with. Asked as the first of an
    order, for which the index of built() lets the engine read a few granules, where max() reads all. -#}
{% macro built_through_of(relation) -%}
    assumeNotNull((select built_through from {{ relation }} order by built_through desc limit 1))
{%- endmacro %}

{#- The index of an incremental model that says which parts are of which runs. -#}
{% macro built() %}
    {{ return({'name': 'built', 'definition': 'built_through type minmax granularity 8'}) }}
{% endmacro %}

{#- The configuration of an incremental model of many rows.

    order_by       the key of a row, of which the newest version counts
    days           for how long it is kept, unless events are kept longer
    time           the column that this is counted from
    partition_by   a day (UTC) of it, if nothing else is said -#}
{% macro versions(order_by, days, time='window_start', partition_by=none) %}
    {{ return({
        'materialized': 'incremental',
        'incremental_strategy': 'append',
        'engine': 'ReplacingMergeTree(built_through, is_deleted)',
        'order_by': order_by,
        'partition_by': partition_by or 'toDate(' ~ time ~ ')',
        'ttl': time ~ ' + interval ' ~ kept_days(days) ~ ' day',
        'settings': compact(),
        'indexes': [built()],
        'query_settings': {'enable_materialized_cte': 1},
    }) }}
{% endmacro %}

{#- Days whose events were swapped since, as a subquery. The minute allows for clocks that differ. -#}
{% macro rebuilt_days() -%}
    (
        select day from {{ source('millrace', 'rebuilt_days') }}
        where rebuilt_at >= {{ built_since() }} - interval 1 minute
    )
{%- endmacro %}

{#- The events that this run must answer for: those that came since the last run, and those of days
    that were swapped. The upper bound keeps the answer the same while new events come in. Two reads
    and not one with `or`, for which no index would skip the history. -#}
{% macro new_events(columns) -%}
    select {{ columns }}
    from {{ ref('stg_events') }}
    where ingested_at >= {{ built_since() }} and ingested_at < {{ built_through() }}
    union all
    select {{ columns }}
    from {{ ref('stg_events') }}
    where toDate(event_time) in {{ rebuilt_days() }}
{%- endmacro %}

{#- What a run touches before this moment is late, and read apart from the rest: else one late event
    would make a run read as far back for everyone. The start of a minute, so that no window is split. -#}
{% macro lately() -%}
    toDateTime64(toStartOfMinute({{ built_since() }} - interval 6 hour), 3, 'UTC')
{%- endmacro %}

{#- Follows the name of a table that holds versions: read only the newest, and none that is deleted.
    A macro, since the inline rows of a unit test cannot be asked for it. -#}
{% macro newest() -%}
    final
{%- endmacro %}
