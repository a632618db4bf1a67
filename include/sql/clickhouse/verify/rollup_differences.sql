{# Minutes for which the rollup and the events themselves say different things. -#}
SELECT
    minute,
    country,
    device,
    event_type,
    sum(counted) AS events,
    sum(rolled_up) AS rollup
FROM (
    SELECT
        toUInt32(intDiv(toUnixTimestamp(event_time), 60)) AS minute,
        toString(country) AS country,
        toString(device) AS device,
        toString(event_type) AS event_type,
        1 AS counted,
        0 AS rolled_up
    FROM events
    WHERE event_time >= toDateTime({since:UInt32}, 'UTC') AND event_time < toDateTime({until:UInt32}, 'UTC')
    UNION ALL
    SELECT
        toUInt32(intDiv(toUnixTimestamp(window_start), 60)) AS minute,
        toString(country) AS country,
        toString(device) AS device,
        toString(event_type) AS event_type,
        0 AS counted,
        events AS rolled_up
    FROM analytics.metrics_1min
    WHERE window_start >= toDateTime({since:UInt32}, 'UTC') AND window_start < toDateTime({until:UInt32}, 'UTC')
)
GROUP BY minute, country, device, event_type
HAVING events != rollup
ORDER BY minute, country, device, event_type
