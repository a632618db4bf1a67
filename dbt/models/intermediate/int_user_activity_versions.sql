{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  user, then time: a user's minutes are read together
  partition  day (UTC)
  ttl        90 days, or as long as events
  why        incremental by touched (user, minute). On insert it would cost ingest more than all other
             rollups together, since nearly every event is a key of its own. event_types is a set
             that merges: the unique types of an hour are the union of its minutes' sets.
#}
{{ config(**versions(['user_id', 'window_start'], 90)) }}

{% if is_incremental() %}
with
touched as materialized (
    select user_id, toStartOfMinute(event_time) as window_start
    from ({{ new_events('user_id, event_time') }})
    union distinct
    -- a rebuilt day may have lost events
    select user_id, window_start
    from {{ this }} {{ newest() }}
    where toDate(window_start) in {{ rebuilt_days() }}
)
{% endif %}

select
    user_id,
    window_start,
    events,
    event_types,
    {{ built_through() }} as built_through,
    is_deleted
from (
    {% for side in (['>=', '<'] if is_incremental() else ['>=']) %}
    select
        user_id,
        toStartOfMinute(event_time) as window_start,
        toUInt64(count()) as events,
        arraySort(groupUniqArray(event_type)) as event_types,
        toUInt8(0) as is_deleted
    from {{ ref('stg_events') }}
    {% if is_incremental() %}
    where
        user_id in (
            select user_id from touched
            where window_start {{ side }} {{ lately() }}
        )
        and event_time {{ side }} {{ lately() }}
        {% if side == '<' %}
        and event_time >= (select toDateTime64(min(window_start), 3, 'UTC') from touched)
        {% endif %}
        and (user_id, toStartOfMinute(event_time)) in (select user_id, window_start from touched)
    {% endif %}
    group by user_id, window_start
    {{ 'union all' if is_incremental() }}
    {% endfor %}
    {% if is_incremental() %}
    select
        user_id,
        window_start,
        toUInt64(0) as events,
        cast([] as Array(String)) as event_types,
        toUInt8(1) as is_deleted
    from touched
    {% endif %}
)
order by user_id, window_start, is_deleted
limit 1 by user_id, window_start
