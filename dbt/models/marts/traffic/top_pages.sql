{#
  engine     none, a view over page_views_1h
#}
select
    toDate(window_start) as day,
    page,
    sum(page_views) as page_views
from {{ ref('page_views_1h') }}
group by day, page
