{#
  engine     none, a view of the newest versions in int_user_activity_versions
  why        event_types is a set: merge sets, never add up unique_event_types
#}
select
    user_id,
    window_start,
    events,
    toUInt64(length(event_types)) as unique_event_types,
    event_types
from {{ ref('int_user_activity_versions') }} {{ newest() }}
