{#
  engine     none, a view: events with what is known of their user now. The profile is looked up in
             memory, so a join costs little; it is not history, since profiles have none.
#}
select
    events.event_id as event_id,
    events.event_time as event_time,
    events.event_type as event_type,
    events.user_id as user_id,
    events.page as page,
    events.country as country,
    events.device as device,
    events.properties as properties,
    profiles.plan as plan,
    profiles.country as profile_country
from {{ ref('stg_events') }} as events
left any join {{ ref('stg_user_profiles') }} as profiles on events.user_id = profiles.user_id
