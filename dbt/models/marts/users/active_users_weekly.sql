{#
  engine     none, a view. Weeks start on Monday (ISO 8601).
  why        from users, not from daily counts: a user who comes every day is one user of the week
#}
select
    toMonday(day) as week,
    uniqExact(user_id) as active_users,
    sum(events) as events
from {{ ref('int_user_day_versions') }} {{ newest() }}
group by week
