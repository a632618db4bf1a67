{# Windows for which a rollup and the events themselves say different things. -#}
SELECT
    start,
    first,
    country,
    device,
    sum(counted) AS events,
    sum(rolled_up) AS rollup
FROM (
    SELECT
        toUInt32(intDiv(toUnixTimestamp(event_time), {{ rollup.seconds }}) * {{ rollup.seconds }}) AS start,
        toString({{ rollup.first_dimension }}) AS first,
        toString(country) AS country,
        toString(device) AS device,
        1 AS counted,
        0 AS rolled_up
    FROM events
    WHERE event_time >= toDateTime64({since:UInt32}, 3, 'UTC')
        AND event_time < toDateTime64({until:UInt32}, 3, 'UTC')
        AND {{ rollup.only }}
    UNION ALL
    SELECT
        toUnixTimestamp(window_start) AS start,
        toString({{ rollup.first_dimension }}) AS first,
        toString(country) AS country,
        toString(device) AS device,
        0 AS counted,
        {{ rollup.value }} AS rolled_up
    FROM analytics.{{ rollup.table }}
    WHERE window_start >= toDateTime({since:UInt32}, 'UTC') AND window_start < toDateTime({until:UInt32}, 'UTC')
)
GROUP BY start, first, country, device
HAVING events != rollup
ORDER BY start, first, country, device
LIMIT 1000
