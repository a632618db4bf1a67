{#
  engine     none, a view. An example to copy: cohorts by the week of a user's first day.
#}
with user_weeks as (
    select distinct
        user_id,
        toMonday(day) as week
    from {{ ref('int_user_day_versions') }} {{ newest() }}
),

cohorts as (
    select
        user_id,
        min(week) as cohort_week
    from user_weeks
    group by user_id
)

select
    cohorts.cohort_week as cohort_week,
    toUInt16(dateDiff('week', cohorts.cohort_week, user_weeks.week)) as weeks_later,
    count() as users
from user_weeks
inner join cohorts on user_weeks.user_id = cohorts.user_id
group by cohort_week, weeks_later
