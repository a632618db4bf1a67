-- Volumes of an hour, by event type and by each country and device of it, against the same hour of
-- the week. Hours of a series that stood out are in none of its baselines.
INSERT INTO quality_anomalies
WITH
    arrayMap(week -> {start:DateTime('UTC')} - toIntervalWeek(week), range(1, {weeks:UInt8} + 1))
        AS earlier,
    counted AS (
        SELECT
            toStartOfHour(event_time) AS hour, event_type,
            arrayJoin(['', concat('country=', country), concat('device=', device)]) AS dimension,
            count() AS events
        FROM events
        WHERE
            toStartOfHour(event_time) IN (SELECT arrayJoin(arrayPushBack(earlier, {start:DateTime('UTC')})))
            AND event_time >= {start:DateTime('UTC')} - toIntervalWeek({weeks:UInt8})
            AND event_time < {end:DateTime('UTC')}
        GROUP BY hour, event_type, dimension
    ),
    -- Hours in which there was any event at all: the others were no silence of one series.
    usable AS (
        SELECT hour FROM counted WHERE hour < {start:DateTime('UTC')} GROUP BY hour
    ),
    baseline AS (
        SELECT event_type, dimension, groupArray(events) AS volumes
        FROM (
            SELECT
                s.event_type AS event_type, s.dimension AS dimension, u.hour AS hour,
                any(c.events) AS events
            FROM (
                SELECT DISTINCT event_type, dimension FROM counted
                WHERE hour < {start:DateTime('UTC')}
            ) AS s
            CROSS JOIN usable AS u
            LEFT JOIN counted AS c
                ON c.hour = u.hour AND c.event_type = s.event_type AND c.dimension = s.dimension
            GROUP BY s.event_type, s.dimension, u.hour
        )
        WHERE (hour, event_type, dimension) NOT IN (
            SELECT window_start, event_type, dimension FROM quality_anomalies FINAL
            WHERE kind = 'volume'
        )
        GROUP BY event_type, dimension
        HAVING length(volumes) >= {least:UInt8}
    )
SELECT
    'volume',
    {start:DateTime('UTC')},
    {end:DateTime('UTC')},
    b.event_type,
    b.dimension,
    c.events AS value,
    arrayReduce('median', b.volumes) AS expected,
    -- A volume's own noise is at least that of counting: the root of what is expected.
    abs(value - expected) / greatest(
        1.4826 * arrayReduce('median', arrayMap(v -> abs(v - expected), b.volumes)),
        sqrt(expected), 1
    ) AS distance,
    length(b.volumes),
    {now:DateTime64(3, 'UTC')}
FROM baseline AS b
LEFT JOIN (SELECT * FROM counted WHERE hour = {start:DateTime('UTC')}) AS c
    ON c.event_type = b.event_type AND c.dimension = b.dimension
WHERE distance > {deviations:Float64}
