{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  time first
  partition  day (UTC)
  ttl        90 days, or as long as events
  why        incremental by touched 5-minute windows, from all of their events. Unique-count states are
             the dearest part of a rollup, so ingest does not pay for them. uniq is exact up to
             65,536 users of a window and within 0.5 % or so above.
#}
{{ config(**versions(['window_start', 'country', 'device'], 90)) }}

{{ unique_user_versions(
    ref('stg_events'), 'event_time', 'toStartOfFiveMinutes', 'interval 5 minute',
    state='uniqState(found.user_id)',
    new=new_events('event_time'),
    built_through=built_through(),
) }}
