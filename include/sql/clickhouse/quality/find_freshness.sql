-- How old events are when they are taken up (95th percentile of the hour they arrive in), by event
-- type and by each country and device of it, against the same hour of the week. Only later than
-- usual is an anomaly. Hours of a series that stood out are in none of its baselines.
INSERT INTO quality_anomalies
WITH
    arrayMap(week -> {start:DateTime('UTC')} - toIntervalWeek(week), range(1, {weeks:UInt8} + 1))
        AS earlier,
    measured AS (
        SELECT
            toStartOfHour(ingested_at) AS hour, event_type,
            arrayJoin(['', concat('country=', country), concat('device=', device)]) AS dimension,
            quantileTDigest(0.95)(
                greatest(dateDiff('millisecond', event_time, ingested_at), 0) / 1000
            ) AS age
        FROM events
        WHERE
            toStartOfHour(ingested_at) IN (
                SELECT arrayJoin(arrayPushBack(earlier, {start:DateTime('UTC')}))
            )
            AND ingested_at >= {start:DateTime('UTC')} - toIntervalWeek({weeks:UInt8})
            AND ingested_at < {end:DateTime('UTC')}
        GROUP BY hour, event_type, dimension
        HAVING count() >= {least_events:UInt32}
    ),
    baseline AS (
        SELECT event_type, dimension, groupArray(age) AS ages
        FROM measured
        WHERE
            hour < {start:DateTime('UTC')}
            AND (hour, event_type, dimension) NOT IN (
                SELECT window_start, event_type, dimension FROM quality_anomalies FINAL
                WHERE kind = 'freshness'
            )
        GROUP BY event_type, dimension
        HAVING length(ages) >= {least:UInt8}
    )
SELECT
    'freshness',
    {start:DateTime('UTC')},
    {end:DateTime('UTC')},
    b.event_type,
    b.dimension,
    m.age AS value,
    arrayReduce('median', b.ages) AS expected,
    -- Ages are long-tailed: a tenth of what is expected, and a second, are noise.
    (value - expected) / greatest(
        1.4826 * arrayReduce('median', arrayMap(v -> abs(v - expected), b.ages)),
        0.1 * expected, 1
    ) AS distance,
    length(b.ages),
    {now:DateTime64(3, 'UTC')}
FROM baseline AS b
INNER JOIN (SELECT * FROM measured WHERE hour = {start:DateTime('UTC')}) AS m
    ON m.event_type = b.event_type AND m.dimension = b.dimension
WHERE distance > {deviations:Float64}
