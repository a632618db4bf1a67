{#
  engine     none, a view: each event with the session it is in. An event that came after the last build
             of sessions may be in none yet, and is left out.
#}
select
    events.event_id as event_id,
    events.event_time as event_time,
    events.event_type as event_type,
    events.user_id as user_id,
    events.page as page,
    lower(hex(sipHash128(sessions.user_id, sessions.started_at))) as session_id,
    sessions.started_at as session_started_at
from {{ ref('stg_events') }} as events
asof join (
    select user_id, started_at, ended_at
    from {{ ref('int_session_versions') }} {{ newest() }}
) as sessions
    on events.user_id = sessions.user_id and events.event_time >= sessions.started_at
where events.event_time <= sessions.ended_at
