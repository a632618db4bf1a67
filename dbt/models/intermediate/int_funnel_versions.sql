{#
  engine     ReplacingMergeTree(built_through, is_deleted)
  order key  day, then funnel, step and what users are told apart by
  partition  month
  ttl        2 years
  why        incremental by touched days. A funnel is a row of the variable `funnels`: users who, within
             so many seconds of a day, sent its 2 to 8 types of event in this order. windowFunnel
             needs all events of a user and day, so a touched day is built anew, and its rows replaced;
             those of a day that lost its events are deleted. A user is counted where they were when
             they sent the day's first event of any funnel, so countries and devices add up.
#}
{{ config(**versions(
    ['day', 'funnel', 'step', 'country', 'device'], 730, time='day',
    partition_by='toStartOfMonth(day)'
)) }}
{% set funnels = checked_funnels() %}
{% set types = [] %}
{% for funnel in funnels %}
{% for step in funnel.steps if step not in types %}{% do types.append(step) %}{% endfor %}
{% endfor %}

-- noqa: disable=LT02,LT05
with
{% if is_incremental() %}
touched as materialized (
    select toDate(event_time) as day
    from ({{ new_events('event_time') }})
    union distinct
    select day from {{ rebuilt_days() }}
),
{% endif %}

depths as (
    select
        toDate(event_time) as day,
        user_id,
        toLowCardinality(argMin(country, (event_time, event_id))) as country,
        toLowCardinality(argMin(device, (event_time, event_id))) as device,
        [
            {%- for funnel in funnels %}
            windowFunnel({{ funnel.within_seconds * 1000 }})(  -- noqa: LT01
                toUInt64(toUnixTimestamp64Milli(event_time))
                {%- for step in funnel.steps %},
                event_type = '{{ step }}'
                {%- endfor %}
            ){{ ',' if not loop.last }}
            {%- endfor %}
        ] as depths
    from {{ ref('stg_events') }}
    where
        event_type in ('{{ types | join("', '") }}')
        {% if is_incremental() %}
        and toDate(event_time) in (select day from touched)
        {% endif %}
    group by day, user_id
)

select
    day,
    funnel,
    step,
    event_type,
    country,
    device,
    users,
    {{ built_through() }} as built_through,
    is_deleted
from (
    select
        day,
        toLowCardinality(steps.2) as funnel,
        toUInt8(steps.3) as step,
        toLowCardinality(steps.4) as event_type,
        country,
        device,
        toUInt64(count()) as users,
        toUInt8(0) as is_deleted
    from depths
    array join [
        {%- for funnel in funnels %}
            {%- set number = loop.index %}
            {%- set is_last = loop.last %}
            {%- for step in funnel.steps %}
        ({{ number }}, '{{ funnel.name }}', {{ loop.index }}, '{{ step }}'){{ ',' if not (is_last and loop.last) }}
            {%- endfor %}
        {%- endfor %}
    ] as steps
    where depths[steps.1] >= steps.3
    group by day, funnel, step, event_type, country, device
    {% if is_incremental() %}
    union all
    select
        day,
        funnel,
        step,
        event_type,
        country,
        device,
        toUInt64(0) as users,
        toUInt8(1) as is_deleted
    from {{ this }} {{ newest() }}
    where day in (select day from touched)
    {% endif %}
)
order by day, funnel, step, country, device, is_deleted
limit 1 by day, funnel, step, country, device
