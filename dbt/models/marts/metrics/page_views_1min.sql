{#
  engine     SummingMergeTree
  order key  time first
  partition  day (UTC)
  ttl        90 days, or as long as events
  why        on insert. Apart from metrics_1min, since pages multiply its rows by hundreds; page views
             only, since a page says little about other events.
#}
{{ config(**rollup(['page', 'country', 'device'], 90)) }}

select
    toStartOfMinute(event_time) as window_start,
    toLowCardinality(page) as page,
    country,
    device,
    count() as page_views
from {{ source('millrace', 'events') }}
where event_type = 'page_view'
group by window_start, page, country, device
