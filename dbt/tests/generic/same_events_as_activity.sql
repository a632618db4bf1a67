{#- Sessions and user activity were built from the same events, so their totals agree. Events that
    came between the two runs are allowed for by looking at days that ended. -#}
{% test same_events_as_activity(model) %}
with by_session as (
    select user_id, sum(events) as events from {{ model }}
    group by user_id
    having max(ended_at) < now() - interval 1 day
),
by_minute as (
    select user_id, sum(events) as events from {{ ref('user_activity_1min') }}
    group by user_id
    having max(window_start) < now() - interval 1 day
)
select by_session.user_id, by_session.events, by_minute.events
from by_session inner join by_minute on by_session.user_id = by_minute.user_id
where by_session.events != by_minute.events
{% endtest %}
