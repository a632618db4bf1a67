{% import 'clickhouse/contract/robust.sql.jinja' as robust %}
{% import 'clickhouse/contract/failures.sql.jinja' as failure %}
-- Users who sent unusually much in a window: far above what users send in a window of the same hour
-- of the week, and far above what they themselves do then.
WITH
    past AS (
        SELECT
            user_id,
            toUInt32(intDiv(toUnixTimestamp64Milli(received_at), 1000 * {seconds:UInt32})) AS slot,
            count() AS events
        FROM events
        WHERE
            toStartOfHour(received_at) IN {hours:Array(DateTime('UTC'))}
            AND toDate(event_time) IN {days:Array(Date)}
            AND ({event_type:String} = '' OR event_type = {event_type:String})
            AND ({source_id:String} = '' OR source_id = {source_id:String})
        GROUP BY user_id, slot
        -- What stood out is nobody's normal.
        HAVING (user_id, slot) NOT IN (
            SELECT
                toUInt64OrZero(substring(dimension, length('user_id=') + 1)),
                intDiv(toUnixTimestamp(window_start), {seconds:UInt32})
            FROM quality_anomalies FINAL
            WHERE kind = 'user_rate' AND event_type = {event_type:String}
        )
    ),
    everyone AS (SELECT count() AS samples, median(events) AS usual_count FROM past),
    everyones_spread AS (
        SELECT median(abs(events - (SELECT usual_count FROM everyone))) AS deviation FROM past
    ),
    medians AS (SELECT user_id, count() AS samples, median(events) AS usual_count FROM past GROUP BY user_id),
    own AS (
        SELECT m.user_id AS user_id, m.usual_count AS usual_count, median(abs(p.events - m.usual_count)) AS deviation
        FROM past AS p INNER JOIN medians AS m ON m.user_id = p.user_id
        WHERE m.samples >= {own_least:UInt32}
        GROUP BY m.user_id, m.usual_count
    ),
    counted AS (
        SELECT user_id, count() AS events
        FROM events
        WHERE
            received_at >= {start:DateTime64(3, 'UTC')} AND received_at < {end:DateTime64(3, 'UTC')}
            AND ingested_at >= {start:DateTime64(3, 'UTC')}
            AND ({event_type:String} = '' OR event_type = {event_type:String})
            AND ({source_id:String} = '' OR source_id = {source_id:String})
        GROUP BY user_id
        UNION ALL
        -- Whoever is held goes on being counted, and is held for as long as it goes on.
        SELECT
            toUInt64OrZero(
                JSONExtract(value, 'Map(String, String)')[
                    transform(source_id::String, {sources:Array(String)}, {keys:Array(String)}, '')
                ]
            ) AS user_id,
            count() AS events
        FROM rejected_events
        WHERE
            kafka_timestamp >= {start:DateTime64(3, 'UTC')}
            AND kafka_timestamp < {end:DateTime64(3, 'UTC')}
            AND rejected_at >= {start:DateTime64(3, 'UTC')}
            AND arrayExists(label -> {{ failure.is_of_rule('label', '{rule:String}') }}, failures)
        GROUP BY user_id
    )
SELECT
    c.user_id AS user_id,
    sum(c.events) AS value,
    (SELECT usual_count FROM everyone) AS usual,
    (SELECT deviation FROM everyones_spread) AS usual_deviation,
    any(own.usual_count) AS own_usual,
    any(own.deviation) AS own_deviation,
    -- Counts have a noise of their own: the root of what is expected.
    (value - usual) / greatest({{ robust.deviation('usual_deviation') }}, sqrt(usual), 1) AS above_others,
    (value - own_usual) / greatest({{ robust.deviation('own_deviation') }}, sqrt(own_usual), 1) AS above_self,
    if(own_usual > usual, own_usual, usual) AS expected,
    least(above_others, above_self) AS deviations,
    (SELECT samples FROM everyone) AS samples
FROM counted AS c LEFT JOIN own ON own.user_id = c.user_id
GROUP BY c.user_id
HAVING samples >= {least:UInt32} AND deviations > {deviations:Float64}
ORDER BY deviations DESC
LIMIT {limit:UInt32}
