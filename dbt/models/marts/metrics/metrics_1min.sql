{#
  engine     SummingMergeTree: rows of a key are added up in merges, so readers say sum(events)
  order key  time first: dashboards and alerts ask for the last minutes
  partition  day (UTC), so that rebuilding a day of events swaps a day of this
  ttl        90 days, or as long as events; coarser rollups are kept longer
  why        on insert: visible with the events. Sums of a few narrow columns only (no page, no
             unique users), since every insert of ingest pays for it.
#}
{{ config(**rollup(['event_type', 'country', 'device'], 90)) }}

select
    toStartOfMinute(event_time) as window_start,
    event_type,
    country,
    device,
    count() as events
from {{ source('millrace', 'events') }}
group by window_start, event_type, country, device
