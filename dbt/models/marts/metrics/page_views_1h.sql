{#
  engine     SummingMergeTree
  order key  page first: a page's week is a few granules of each day, where time first would read every
             page's; who asks for all pages reads whole days
  partition  day (UTC)
  ttl        2 years
  why        on insert, from the block that was just added to page_views_1min. No 5-minute step: it
             would save little and cost every insert a part.
#}
{{ config(**rollup(
    ['page', 'country', 'device'], 730,
    order_by=['page', 'window_start', 'country', 'device']
)) }}

{{ coarser(ref('page_views_1min'), 'toStartOfHour', ['page', 'country', 'device'], 'page_views') }}
