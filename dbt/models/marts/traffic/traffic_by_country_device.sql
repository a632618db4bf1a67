{#
  engine     none, a view over metrics_1h: the window reaches its order key
#}
select
    window_start,
    country,
    device,
    sum(hours.events) as events,
    sumIf(hours.events, hours.event_type = 'page_view') as page_views
from {{ ref('metrics_1h') }} as hours
group by window_start, country, device
