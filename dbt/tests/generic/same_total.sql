{#- The model's sum of `column`, per day, equals the sum (or the number of rows) of another relation.

    The two sides are read a moment apart, so only days that stand still are held against each other:
    days that ended, and for which no late event arrived in the last minute. -#}
{% test same_total(
    model, column, compared_with, compared_column=none, time='window_start', compared_time=none, compared_where='true'
) %}
with standing_still as (
    select toDate(now('UTC')) - number as day
    from numbers(1, 7)
    where day not in (
        select toDate(event_time)
        from {{ ref('stg_events') }}
        where ingested_at > now64(3) - interval 1 minute
    )
),
ours as (
    select toDate({{ time }}) as day, sum({{ column }}) as total
    from {{ model }} where toDate({{ time }}) in (select day from standing_still)
    group by day
),
theirs as (
    select
        toDate({{ compared_time or time }}) as day,
        {{ 'sum(' ~ compared_column ~ ')' if compared_column else 'count()' }} as total
    from {{ compared_with }}
    where
        toDate({{ compared_time or time }}) in (select day from standing_still)
        and {{ compared_where }}
    group by day
)
select day, ours.total as ours, theirs.total as theirs
from ours full outer join theirs using (day)
where ours.total != theirs.total
{% endtest %}
