{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  day, then user: active users and retention count users by day
  partition  month: a row a user and day is little
  ttl        2 years
  why        incremental by touched (user, day), from the minutes that user_activity_1min built since;
             the sets of event types merge exactly
#}
{{ config(**versions(['day', 'user_id'], 730, time='day', partition_by='toStartOfMonth(day)')) }}

{% if is_incremental() %}
with
touched as materialized (
    select distinct user_id, toDate(window_start) as day
    from {{ ref('int_user_activity_versions') }}
    where built_through >= {{ built_since() }}
)
{% endif %}

select
    day,
    user_id,
    events,
    active_minutes,
    event_types,
    {{ built_through_of(ref('int_user_activity_versions')) }} as built_through,
    is_deleted
from (
    {% for side in (['>=', '<'] if is_incremental() else ['>=']) %}
    select
        toDate(window_start) as day,
        user_id,
        toUInt64(sum(events)) as events,
        toUInt64(count()) as active_minutes,
        arraySort(groupUniqArrayArray(event_types)) as event_types,
        toUInt8(0) as is_deleted
    from {{ ref('int_user_activity_versions') }} {{ newest() }}
    {% if is_incremental() %}
    where
        user_id in (
            select user_id from touched
            where day {{ side }} toDate({{ lately() }})
        )
        and toDate(window_start) in (
            select day from touched
            where day {{ side }} toDate({{ lately() }})
        )
        and (user_id, toDate(window_start)) in (select user_id, day from touched)
    {% endif %}
    group by day, user_id
    {{ 'union all' if is_incremental() }}
    {% endfor %}
    {% if is_incremental() %}
    select
        day,
        user_id,
        toUInt64(0) as events,
        toUInt64(0) as active_minutes,
        cast([] as Array(String)) as event_types,
        toUInt8(1) as is_deleted
    from touched
    {% endif %}
)
order by day, user_id, is_deleted
limit 1 by day, user_id
