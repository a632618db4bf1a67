{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  time first
  partition  day (UTC)
  ttl        90 days
  why        incremental by touched 5-minute windows, from all of their events. Unique-count states are
             the dearest part of a rollup, so ingest does not pay for them. uniq is exact up to
             65,536 users of a window and within 0.5 % or so above.
#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    engine='ReplacingMergeTree(built_through, is_deleted)',
    order_by=['window_start', 'country', 'device'],
    partition_by='toDate(window_start)',
    ttl='window_start + interval 90 day',
    query_settings={'enable_materialized_cte': 1},
) }}

{% if is_incremental() %}
with
touched as materialized (
    select distinct toStartOfFiveMinutes(event_time) as window_start
    from {{ ref('stg_events') }}
    where {{ is_new_event() }}
)
{% endif %}

select
    window_start,
    country,
    device,
    users,
    {{ built_through() }} as built_through,
    is_deleted
from (
    select
        toStartOfFiveMinutes(event_time) as window_start,
        country,
        device,
        uniqState(user_id) as users,
        toUInt8(0) as is_deleted
    from {{ ref('stg_events') }}
    {% if is_incremental() %}
    where
        toDate(event_time) in (select toDate(window_start) from touched)
        and event_time >= (select min(window_start) from touched)
        and event_time < (select max(window_start) from touched) + interval 5 minute
        and toStartOfFiveMinutes(event_time) in (select window_start from touched)
    {% endif %}
    group by window_start, country, device
    {% if is_incremental() %}
    union all
    -- what a rebuilt day had before, and may have no more
    select
        window_start,
        country,
        device,
        initializeAggregation('uniqState', toUInt64(0)) as users,
        toUInt8(1) as is_deleted
    from {{ this }} {{ newest() }}
    where toDate(window_start) in {{ rebuilt_days() }}
    {% endif %}
)
order by window_start, country, device, is_deleted
limit 1 by window_start, country, device
