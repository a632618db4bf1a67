{#
  engine     SummingMergeTree
  order key  time first
  partition  day (UTC)
  ttl        2 years
  why        on insert, from the block that was just added to page_views_1min. No 5-minute step: it
             would save little and cost every insert a part.
#}
{{ config(**rollup(['page', 'country', 'device'], 730)) }}

{{ coarser(ref('page_views_1min'), 'toStartOfHour', ['page', 'country', 'device'], 'page_views') }}
