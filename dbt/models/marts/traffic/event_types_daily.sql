{#
  engine     none, a view over metrics_1h
  why        one row a day and type: what anomaly detection compares with the same weekday before
#}
select
    toDate(window_start) as day,
    event_type,
    sum(events) as events
from {{ ref('metrics_1h') }}
group by day, event_type
