{#
  engine     none, a view over page_views_1d: conditions on the day reach its partitions
  why        pages of all countries and devices; for some of them ask page_views_1d itself, since a
             view by country and device would add up twice what is asked of it
#}
select
    toDate(window_start) as day,
    page,
    sum(page_views) as page_views
from {{ ref('page_views_1d') }}
group by day, page
