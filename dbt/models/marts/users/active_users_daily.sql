{#
  engine     none, a view: a day is a range of int_user_day_versions' order key
#}
select
    day,
    count() as active_users,
    sum(events) as events
from {{ ref('int_user_day_versions') }} {{ newest() }}
group by day
