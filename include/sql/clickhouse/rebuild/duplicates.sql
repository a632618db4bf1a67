{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Of several copies the first that Kafka got stays; a neighbouring day's event, which is not
-- rebuilt, comes before any that was not in this day.
INSERT INTO {{ duplicates }}
SELECT {{ rebuild.columns }}, detail
FROM (
    SELECT
        {{ rebuild.columns }},
        row_number() OVER copies AS copy,
        concat(
            'the first copy is at partition ', toString(first_value(partition) OVER copies),
            ' offset ', toString(first_value(offset) OVER copies)
        ) AS detail
    FROM {{ shadow }}
    WHERE event_id IN (SELECT event_id FROM {{ shadow }} GROUP BY event_id HAVING count() > 1)
    WINDOW copies AS (
        PARTITION BY event_id ORDER BY received_at, topic, partition, offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
WHERE copy > 1 AND source_id IN {sources:Array(String)}
UNION ALL
SELECT
    {{ rebuild.columns }}, concat('a copy is among the events of ', toString(days.day)) AS detail
FROM fresh
INNER JOIN (
    SELECT event_id, any(toDate(event_time)) AS day FROM {{ target }}
    WHERE toDate(event_time) != {day:Date}
        AND event_time >= toDateTime64({day:Date}, 3, 'UTC') - toIntervalHour({window_hours:UInt32})
        AND event_time < toDateTime64({day:Date} + 1, 3, 'UTC') + toIntervalHour({window_hours:UInt32})
        AND event_id IN (SELECT event_id FROM fresh)
    GROUP BY event_id
) AS days USING (event_id)
