{#- Sessions and user activity were built from the same events, so their totals agree. Events that
    came between the two runs are allowed for by looking at users whose day ended. Activity is kept
    for a shorter time, so a user is compared from the first session of the last 80 days on, unless
    the session before it ended in the same minute. -#}
{% test same_events_as_activity(model) %}
with by_session as (
    select
        user_id,
        minIf(started_at, started_at >= today() - 80) as first_at,
        sumIf(events, started_at >= today() - 80) as events
    from {{ model }}
    group by user_id
    having
        max(ended_at) < now64(3) - interval 1 day
        and max(started_at) >= today() - 80
        and toStartOfMinute(maxIf(ended_at, started_at < today() - 80)) < toStartOfMinute(first_at)
),
by_minute as (
    select user_activity.user_id as user_id, sum(user_activity.events) as events
    from {{ ref('user_activity_1min') }} as user_activity
    inner join by_session on user_activity.user_id = by_session.user_id
    where user_activity.window_start >= toStartOfMinute(by_session.first_at)
    group by user_activity.user_id
)
select by_session.user_id, by_session.events, by_minute.events
from by_session left join by_minute on by_session.user_id = by_minute.user_id
where by_session.events != by_minute.events
{% endtest %}
