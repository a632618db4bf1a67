{#
  engine     none, a view of the newest versions in int_session_versions
#}
select
    lower(hex(sipHash128(user_id, started_at))) as session_id,
    user_id,
    started_at,
    ended_at,
    dateDiff('millisecond', started_at, ended_at) / 1000 as duration_seconds,
    events,
    page_views,
    entry_page,
    exit_page,
    country,
    device,
    toBool(page_views <= 1) as is_bounce
from {{ ref('int_session_versions') }} {{ newest() }}
