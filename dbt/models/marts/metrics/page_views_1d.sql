{#
  engine     SummingMergeTree
  order key  time first
  partition  day (UTC)
  ttl        2 years
  why        on insert, from the block that was just added to page_views_1h. Pages make many rows of an
             hour, and a dashboard asks for the top pages of several days: a fifteenth of the rows to
             add up. Merged early, since unmerged parts were five times the rows (0010 has figures).
#}
{{ config(**rollup(['page', 'country', 'device'], 730, merged_early=true)) }}

{{ coarser(ref('page_views_1h'), 'toStartOfDay', ['page', 'country', 'device'], 'page_views') }}
