{#
  engine     none, a view over the rollups: nothing is stored twice, and a new metric has its past
  why        a condition on metric_name or timestamp reaches each branch, so that one metric costs no
             more than its own rollup; metrics of aggregation rules come as the rules say
#}
{{ metric('events', ref('metrics_1min'), 'sum(events)', ['event_type', 'country', 'device']) }}
union all
{{ metric('page_views', ref('page_views_1min'), 'sum(page_views)', ['page', 'country', 'device']) }}
union all
{{ metric(
    'rejected_events', ref('rejections_1min'), 'sum(rejected_events)', ['source_id', 'reason']
) }}
union all
{{ metric('unique_users', ref('unique_users_5min'), 'uniqMerge(users)', ['country', 'device']) }}
union all
{{ metric(
    'sessions', ref('sessions'), 'count()', ['country', 'device'],
    time='toStartOfMinute(started_at)'
) }}
union all
{{ metric(
    'visitors', ref('sessions'), 'uniq(user_id)', ['country', 'device', 'entry_page'],
    time='toStartOfFiveMinutes(started_at)'
) }}
union all
select
    timestamp,
    metric_name,
    value,
    dimensions
from {{ source('millrace', 'rule_metrics') }}
