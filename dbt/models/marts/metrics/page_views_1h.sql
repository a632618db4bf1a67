{#
  engine     SummingMergeTree
  order key  time first
  partition  day (UTC)
  ttl        2 years
  why        on insert, from the block that was just added to page_views_1min. No 5-minute step: it
             would save little and cost every insert a part.
#}
{{ config(
    materialized=on_insert(),
    engine='SummingMergeTree',
    order_by=['window_start', 'page', 'country', 'device'],
    partition_by='toDate(window_start)',
    ttl='window_start + interval ' ~ kept_days(730) ~ ' day',
    settings=rollup_settings(),
    catchup=(target.name != 'analytics_shadow'),
) }}

{{ coarser(ref('page_views_1min'), 'toStartOfHour', ['page', 'country', 'device'], 'page_views') }}
