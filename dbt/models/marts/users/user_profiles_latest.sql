{#
  engine     none, a view: the profile as it is now, and what the user's sessions say
#}
with seen as (
    select
        user_id,
        min(started_at) as first_seen_at,
        max(ended_at) as last_seen_at,
        toUInt64(count()) as sessions,
        sum(events) as events,
        argMax(country, started_at) as last_country,
        argMax(device, started_at) as last_device
    from {{ ref('sessions') }}
    group by user_id
)

select
    seen.user_id as user_id,
    if(profiles.country = '', seen.last_country, profiles.country) as country,
    profiles.plan as plan,
    toLowCardinality(seen.last_device) as device,
    seen.first_seen_at as first_seen_at,
    seen.last_seen_at as last_seen_at,
    seen.sessions as sessions,
    seen.events as events
from seen
left any join {{ ref('stg_user_profiles') }} as profiles on seen.user_id = profiles.user_id
