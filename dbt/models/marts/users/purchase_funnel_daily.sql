{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  day, then step
  partition  month
  ttl        2 years
  why        incremental by touched days. An example to copy: users who, within a day of each other and in
             this order, viewed a page, added to the cart, and purchased. windowFunnel needs all
             events of a user and day, so a touched day is built anew, and its rows replaced; those
             of a day that lost its events are deleted.
#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    engine='ReplacingMergeTree(built_through, is_deleted)',
    order_by=['day', 'step'],
    partition_by='toStartOfMonth(day)',
    ttl='day + interval ' ~ kept_days(730) ~ ' day',
    query_settings={'enable_materialized_cte': 1},
) }}
{% set steps = ['page_view', 'add_to_cart', 'purchase'] %}
{% set step_list = "'" ~ steps | join("', '") ~ "'" %}

with
{% if is_incremental() %}
touched as materialized (
    select toDate(event_time) as day
    from ({{ new_events('event_time') }})
    union distinct
    select day from {{ rebuilt_days() }}
),
{% endif %}

depths as (
    select
        toDate(event_time) as day,
        user_id,
        windowFunnel(86400000)(  -- noqa: LT01
            toUInt64(toUnixTimestamp64Milli(event_time))
            {%- for step in steps %},
            event_type = '{{ step }}'
            {%- endfor %}
        ) as depth
    from {{ ref('stg_events') }}
    where
        event_type in ({{ step_list }})
        {% if is_incremental() %}
        and toDate(event_time) in (select day from touched)
        {% endif %}
    group by day, user_id
)

select
    day,
    step,
    event_type,
    users,
    {{ built_through() }} as built_through,
    is_deleted
from (
    select
        day,
        toUInt8(step_number) as step,
        toLowCardinality([{{ step_list }}][step_number]) as event_type,
        toUInt64(countIf(depth >= step_number)) as users,
        toUInt8(0) as is_deleted
    from depths
    array join range(1, {{ steps | length + 1 }}) as step_number
    group by day, step_number
    {% if is_incremental() %}
    union all
    select
        day,
        step,
        event_type,
        toUInt64(0) as users,
        toUInt8(1) as is_deleted
    from {{ this }} {{ newest() }}
    where day in (select day from touched)
    {% endif %}
)
order by day, step, is_deleted
limit 1 by day, step
