{#
  engine     SummingMergeTree, as metrics_5min
  order key  time first
  partition  day (UTC)
  ttl        730 days
  why        on insert, from the block that was just added to metrics_5min: sums cascade exactly, and
             the block is already small. A swapped partition of metrics_5min fires no view, so
             rebuilding a day refills this from it.
#}
{{ config(**rollup(['event_type', 'country', 'device'], 730)) }}

{{ coarser(ref('metrics_5min'), 'toStartOfHour', ['event_type', 'country', 'device'], 'events') }}
