{#- The model's sum of `column`, per day, equals the sum (or the number of rows) of another relation.

    Only days that ended are held against each other: while events arrive, the two sides of the
    comparison are read a moment apart. -#}
{% test same_total(
    model, column, compared_with, compared_column=none, time='window_start', compared_time=none, compared_where='true'
) %}
with ours as (
    select toDate({{ time }}) as day, sum({{ column }}) as total
    from {{ model }} where {{ time }} < toStartOfDay(now('UTC')) and {{ time }} >= toStartOfDay(now('UTC')) - interval 7 day
    group by day
),
theirs as (
    select
        toDate({{ compared_time or time }}) as day,
        {{ 'sum(' ~ compared_column ~ ')' if compared_column else 'count()' }} as total
    from {{ compared_with }}
    where
        {{ compared_time or time }} < toStartOfDay(now('UTC')) and {{ compared_time or time }} >= toStartOfDay(now('UTC')) - interval 7 day
        and {{ compared_where }}
    group by day
)
select day, ours.total as ours, theirs.total as theirs
from ours full outer join theirs using (day)
where ours.total != theirs.total
{% endtest %}
