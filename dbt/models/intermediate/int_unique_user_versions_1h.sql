{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  time first
  partition  day (UTC)
  ttl        2 years
  why        incremental by touched hours, by merging the states of unique users per 5 minutes: no event
             is read twice
#}
{{ config(**versions(['window_start', 'country', 'device'], 730)) }}

{{ unique_user_versions(
    ref('int_unique_user_versions_5min'), 'window_start', 'toStartOfHour', 'interval 1 hour',
    state='uniqMergeState(found.users)',
    new='select window_start from ' ~ ref('int_unique_user_versions_5min')
        ~ ' where built_through >= ' ~ built_since(),
    built_through=built_through_of(ref('int_unique_user_versions_5min')),
    versioned=true,
) }}
