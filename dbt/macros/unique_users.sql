{#- Versions of unique-user states per window, country and device: the windows that were touched since
    the last run, each from all that it holds now.

    source         where the windows' rows are, as ref('…')
    time           its column of time
    window         ClickHouse's function that gives the start of a window
    length         length of a window, as an interval
    state          the aggregate that makes the state
    new            a select of the times of the source's rows that this run must answer for
    built_through  the moment that this run answers up to
    versioned      whether the source itself holds versions -#}
{% macro unique_user_versions(
    source, time, window, length, state, new, built_through, versioned=false
) -%}
{% if is_incremental() %}
with
touched as materialized (
    select {{ window }}({{ time }}) as window_start
    from ({{ new }})
    union distinct
    -- a rebuilt day may have lost windows
    select window_start
    from {{ this }} {{ newest() }}
    where toDate(window_start) in {{ rebuilt_days() }}
)
{% endif %}

select
    window_start,
    country,
    device,
    users,
    {{ built_through }} as built_through,
    is_deleted
from (
    select
        {{ window }}(found.{{ time }}) as window_start,
        country,
        device,
        {{ state }} as users,
        toUInt8(0) as is_deleted
    from {{ source }} as found {{ newest() if versioned else '' }}
    {% if is_incremental() %}
    where
        toDate(found.{{ time }}) in (select toDate(window_start) from touched)
        and found.{{ time }} >= (select toDateTime64(min(window_start), 3, 'UTC') from touched)
        and found.{{ time }} < (select toDateTime64(max(window_start), 3, 'UTC') + {{ length }} from touched)
        and {{ window }}(found.{{ time }}) in (select window_start from touched)
    {% endif %}
    group by window_start, country, device
    {% if is_incremental() %}
    union all
    -- what these windows had before, and may have no more
    select
        window_start,
        country,
        device,
        initializeAggregation('uniqState', toUInt64(0)) as users,
        toUInt8(1) as is_deleted
    from {{ this }} {{ newest() }}
    where window_start in (select window_start from touched)
    {% endif %}
)
order by window_start, country, device, is_deleted
limit 1 by window_start, country, device
{%- endmacro %}

{#- The unique users of windows, from the newest versions of their states. -#}
{% macro unique_users(relation) -%}
select
    window_start,
    country,
    device,
    users
from {{ relation }} {{ newest() }}
{%- endmacro %}
