{#
  engine     none, a view of the newest versions in int_funnel_versions
#}
select
    day,
    funnel,
    step,
    event_type,
    country,
    device,
    users
from {{ ref('int_funnel_versions') }} {{ newest() }}
