{#
  engine     none, a view: few messages are rejected, and a condition on the window reaches
             rejected_events' partitions
#}
select
    toStartOfMinute(rejected_at) as window_start,
    source_id,
    reason,
    count() as rejected_events
from {{ ref('stg_rejected_events') }}
group by window_start, source_id, reason
