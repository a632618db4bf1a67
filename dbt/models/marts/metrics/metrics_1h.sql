{#
  engine     SummingMergeTree, as metrics_5min
  order key  time first
  partition  day (UTC)
  ttl        730 days
  why        on insert, from the block that was just added to metrics_5min: sums cascade exactly, and
             the block is already small. A swapped partition of metrics_5min fires no view, so
             rebuilding a day refills this from it.
#}
{{ config(
    materialized=on_insert(),
    engine='SummingMergeTree',
    order_by=['window_start', 'event_type', 'country', 'device'],
    partition_by='toDate(window_start)',
    ttl='window_start + interval ' ~ kept_days(730) ~ ' day',
    settings=rollup_settings(),
    catchup=(target.name != 'analytics_shadow'),
) }}

{{ coarser(ref('metrics_5min'), 'toStartOfHour', ['event_type', 'country', 'device'], 'events') }}
