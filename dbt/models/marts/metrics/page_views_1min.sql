{#
  engine     SummingMergeTree
  order key  hour, then page: a page's minutes of an hour lie together, where time first would have a
             reader of one page read all of them. The index holds hour and page alone: if the minute
             were in it, ClickHouse would not see that a condition on the minute is one on the hour
  partition  day (UTC)
  ttl        90 days, or as long as events
  why        on insert. Apart from metrics_1min, since pages multiply its rows by hundreds; page views
             only, since a page says little about other events.
#}
{{ config(**rollup(
    ['page', 'country', 'device'], 90,
    order_by=['toStartOfHour(window_start)', 'page', 'window_start', 'country', 'device'],
    primary_key=['toStartOfHour(window_start)', 'page']
)) }}

select
    toStartOfMinute(event_time) as window_start,
    toLowCardinality(page) as page,
    country,
    device,
    count() as page_views
from {{ source('millrace', 'events') }}
where event_type = 'page_view'
group by window_start, page, country, device
