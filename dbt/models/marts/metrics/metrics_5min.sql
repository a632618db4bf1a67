{#
  engine     SummingMergeTree, as metrics_1min
  order key  time first
  partition  day (UTC)
  ttl        180 days
  why        on insert, from the block that was just added to metrics_1min: sums cascade exactly, and
             the block is already small. A swapped partition of metrics_1min fires no view, so
             rebuilding a day refills this from it.
#}
{{ config(**rollup(['event_type', 'country', 'device'], 180)) }}

{{ coarser(
    ref('metrics_1min'), 'toStartOfFiveMinutes', ['event_type', 'country', 'device'], 'events'
) }}
