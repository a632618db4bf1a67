{#
  engine     ReplacingMergeTree(built_through, is_deleted): a session that a late event lengthens,
             joins or splits gets a new version
  order key  user, then time: a user's sessions are read together
  partition  day (UTC) of the start
  ttl        400 days
  why        incremental by touched users. A late event can only change the sessions that it lies in
             or within a gap of, so those, and no others, are built anew from all of their events:
             the result is the same as if all events had come in order. Not on insert: a
             session cannot be told from one micro-batch.
#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    engine='ReplacingMergeTree(built_through, is_deleted)',
    order_by=['user_id', 'started_at'],
    partition_by='toDate(started_at)',
    ttl='toDateTime(started_at) + interval ' ~ kept_days(400) ~ ' day',
    settings=compact(),
    indexes=[built(), {'name': 'ended', 'definition': 'ended_at type minmax granularity 1'}],
    query_settings={'enable_materialized_cte': 1},
) }}
{% set gap = "interval " ~ var('session_gap_seconds') ~ " second" %}
{#- A group of users, and since when their sessions matter, where that is known. -#}
{% set groups = [("first_at >= " ~ lately(), lately()), ("first_at < " ~ lately(), none)] %}

with
{% if is_incremental() %}
touched as materialized (
    select
        user_id,
        min(first_at) as first_at,
        max(last_at) as last_at
    from (
        select user_id, event_time as first_at, event_time as last_at
        from ({{ new_events('user_id, event_time') }})
        union all
        -- a rebuilt day may have lost events, so that no event is left to touch the session
        select user_id, started_at as first_at, ended_at as last_at
        from {{ this }} {{ newest() }}
        where toDate(started_at) in {{ rebuilt_days() }} or toDate(ended_at) in {{ rebuilt_days() }}
    )
    group by user_id
),

affected as materialized (
    select
        sessions.user_id as user_id,
        sessions.started_at as started_at,
        sessions.ended_at as ended_at
    from (
        {% for group, since in groups %}
        select user_id, started_at, ended_at
        from {{ this }} {{ newest() }}
        where
            user_id in (
                select user_id from touched
                where {{ group }}
            )
            and ended_at >= {{ since or "(select min(first_at) from touched)" }} - {{ gap }}
        {{ "union all" if not loop.last }}
        {% endfor %}
    ) as sessions
    inner join touched on sessions.user_id = touched.user_id
    where
        sessions.ended_at + {{ gap }} >= touched.first_at
        and sessions.started_at <= touched.last_at + {{ gap }}
),

ranges as materialized (
    select
        user_id,
        min(first_at) as first_at,
        max(last_at) as last_at
    from (
        select user_id, first_at, last_at from touched
        union all
        select user_id, started_at as first_at, ended_at as last_at from affected
    )
    group by user_id
),
{% endif %}

events as (
    {% for group, since in (groups if is_incremental() else groups[:1]) %}
    select
        user_id,
        event_time,
        event_id,
        event_type,
        page,
        country,
        device
    from {{ ref('stg_events') }}
    {% if is_incremental() %}
    inner join ranges using (user_id)
    where
        user_id in (
            select user_id from ranges
            where {{ group }}
        )
        and event_time >= {{ since or "(select min(first_at) from ranges)" }}
        and event_time between ranges.first_at and ranges.last_at
    {{ "union all" if not loop.last }}
    {% endif %}
    {% endfor %}
),

marked as (
    select
        *,
        dateDiff(
            'millisecond',
            lagInFrame(event_time) over (partition by user_id order by event_time),
            event_time
        ) > {{ var('session_gap_seconds') }} * 1000 as is_start
    from events
),

numbered as (
    select
        *,
        sum(is_start) over (partition by user_id order by event_time) as session_number
    from marked
),

sessions as (
    select
        user_id,
        min(event_time) as started_at,
        max(event_time) as ended_at,
        toUInt64(count()) as events,
        toUInt64(countIf(event_type = 'page_view')) as page_views,
        argMinIf(page, (event_time, event_id), page != '') as entry_page,
        argMaxIf(page, (event_time, event_id), page != '') as exit_page,
        argMin(country, (event_time, event_id)) as country,
        argMin(device, (event_time, event_id)) as device,
        toUInt8(0) as is_deleted
    from numbered
    group by user_id, session_number
)

select
    user_id,
    started_at,
    ended_at,
    events,
    page_views,
    entry_page,
    exit_page,
    toLowCardinality(country) as country,
    toLowCardinality(device) as device,
    {{ built_through() }} as built_through,
    is_deleted
from (
    select * from sessions
    {% if is_incremental() %}
    union all
    -- starts that may be none any more; a session that still starts there comes first
    select
        user_id,
        started_at,
        ended_at,
        toUInt64(0) as events,
        toUInt64(0) as page_views,
        '' as entry_page,
        '' as exit_page,
        '' as country,
        '' as device,
        toUInt8(1) as is_deleted
    from affected
    {% endif %}
)
order by user_id, started_at, is_deleted
limit 1 by user_id, started_at
