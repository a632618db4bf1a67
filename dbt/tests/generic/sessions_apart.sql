{#- Sessions of a user are further apart than the gap, and none ends before it starts. -#}
{% test sessions_apart(model) %}
select user_id, started_at, previous_ended_at
from (
    select
        user_id,
        started_at,
        ended_at,
        lagInFrame(ended_at) over (partition by user_id order by started_at) as previous_ended_at
    from {{ model }}
    where started_at >= now64(3) - interval 7 day
)
where
    ended_at < started_at
    or dateDiff('millisecond', previous_ended_at, started_at) <= {{ var('session_gap_seconds') }} * 1000
{% endtest %}
