{#
  engine     none, a view. An example to copy: cohorts by a user's first day.
#}
with first_days as (
    select
        user_id,
        min(day) as cohort_day
    from {{ ref('int_user_day_versions') }} {{ newest() }}
    group by user_id
)

select
    first_days.cohort_day as cohort_day,
    toUInt16(days.day - first_days.cohort_day) as days_later,
    count() as users
from {{ ref('int_user_day_versions') }} as days {{ newest() }}
inner join first_days on days.user_id = first_days.user_id
group by cohort_day, days_later
