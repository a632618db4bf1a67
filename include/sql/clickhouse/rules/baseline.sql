{% import 'clickhouse/contract/robust.sql.jinja' as robust %}
-- Median and robust standard deviation of a field, by event type and hour of the week.
WITH numbers AS (
    SELECT
        event_type,
        (toDayOfWeek(event_time) - 1) * 24 + toHour(event_time) AS hour_of_week,
        toFloat64OrNull(properties[{field:String}]) AS number
    FROM events
    WHERE
        event_time >= {start:DateTime64(3, 'UTC')} AND event_time < {end:DateTime64(3, 'UTC')}
        AND ({event_type:String} = '' OR event_type = {event_type:String})
        AND ({source_id:String} = '' OR source_id = {source_id:String})
        AND mapContains(properties, {field:String})
),
medians AS (
    SELECT event_type, hour_of_week, median(number) AS median_value, count() AS samples
    FROM numbers
    WHERE isFinite(number)
    GROUP BY event_type, hour_of_week
    HAVING samples >= {least:UInt32}
)
SELECT
    event_type, hour_of_week, any(median_value),
    {{ robust.deviation('median(abs(number - median_value))') }}
FROM numbers INNER JOIN medians USING (event_type, hour_of_week)
WHERE isFinite(number)
GROUP BY event_type, hour_of_week
ORDER BY event_type, hour_of_week
