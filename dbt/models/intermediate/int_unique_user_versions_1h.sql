{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  time first
  partition  day (UTC)
  ttl        2 years
  why        incremental by touched hours, by merging the states of unique users per 5 minutes: no event
             is read twice
#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    engine='ReplacingMergeTree(built_through, is_deleted)',
    order_by=['window_start', 'country', 'device'],
    partition_by='toDate(window_start)',
    ttl='window_start + interval 730 day',
    query_settings={'enable_materialized_cte': 1},
) }}

{% if is_incremental() %}
with
touched as materialized (
    select distinct toStartOfHour(versions.window_start) as window_start
    from {{ ref('int_unique_user_versions_5min') }} as versions
    where versions.built_through >= {{ built_since() }}
)
{% endif %}

select
    window_start,
    country,
    device,
    users,
    {{ built_through_of(ref('int_unique_user_versions_5min')) }} as built_through,
    is_deleted
from (
    select
        toStartOfHour(versions.window_start) as window_start,
        country,
        device,
        uniqMergeState(versions.users) as users,
        toUInt8(0) as is_deleted
    from {{ ref('int_unique_user_versions_5min') }} as versions {{ newest() }}
    {% if is_incremental() %}
    where
        toDate(versions.window_start) in (select toDate(window_start) from touched)
        and toStartOfHour(versions.window_start) in (select window_start from touched)
    {% endif %}
    group by window_start, country, device
    {% if is_incremental() %}
    union all
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
