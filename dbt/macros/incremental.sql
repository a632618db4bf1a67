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
    assumeNotNull((select max(built_through) from {{ this }}))
{%- endmacro %}

{#- The newest moment that rows of another incremental model were built with. -#}
{% macro built_through_of(relation) -%}
    assumeNotNull((select max(built_through) from {{ relation }}))
{%- endmacro %}

{#- Days whose events were swapped since, as a subquery. The minute allows for clocks that differ. -#}
{% macro rebuilt_days() -%}
    (
        select day from {{ source('millrace', 'rebuilt_days') }}
        where rebuilt_at >= {{ built_since() }} - interval 1 minute
    )
{%- endmacro %}

{#- Whether an event is one that this run must answer for. The upper bound keeps the answer the same
    while new events come in. -#}
{% macro is_new_event() -%}
    (
        (ingested_at >= {{ built_since() }} and ingested_at < {{ built_through() }})
        or toDate(event_time) in {{ rebuilt_days() }}
    )
{%- endmacro %}

{#- Follows the name of a table that holds versions: read only the newest, and none that is deleted.
    A macro, since the inline rows of a unit test cannot be asked for it. -#}
{% macro newest() -%}
    final
{%- endmacro %}
