{#
  engine     none, a view: retention_daily by where a user's first session began, apart from it since
             it reads every user's sessions, too
#}
with first_days as (
    select
        user_id,
        min(day) as cohort_day
    from {{ ref('int_user_day_versions') }} {{ newest() }}
    group by user_id
),

first_sessions as (
    select
        user_id,
        toLowCardinality(argMin(country, started_at)) as country,
        toLowCardinality(argMin(device, started_at)) as device
    from {{ ref('int_session_versions') }} {{ newest() }}
    group by user_id
)

select
    first_days.cohort_day as cohort_day,
    toUInt16(days.day - first_days.cohort_day) as days_later,
    first_sessions.country as country,
    first_sessions.device as device,
    count() as users
from {{ ref('int_user_day_versions') }} as days {{ newest() }}
inner join first_days on days.user_id = first_days.user_id
left join first_sessions on days.user_id = first_sessions.user_id
group by cohort_day, days_later, country, device
