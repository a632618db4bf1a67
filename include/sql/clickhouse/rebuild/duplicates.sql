{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Of several copies within the day stays one that is there already, of these the first that Kafka
-- got.
INSERT INTO {{ duplicates }}
SELECT {{ rebuild.columns }}, detail
FROM (
    SELECT
        {{ rebuild.columns }},
        {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM fresh) AS is_fresh,
        row_number() OVER copies AS copy,
        concat(
            'the first copy is at partition ', toString(first_value(partition) OVER copies),
            ' offset ', toString(first_value(offset) OVER copies)
        ) AS detail
    FROM {{ shadow }}
    WHERE event_id IN (SELECT event_id FROM {{ shadow }} GROUP BY event_id HAVING count() > 1)
    WINDOW copies AS (
        PARTITION BY event_id
        ORDER BY is_fresh, received_at, topic, partition, offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    )
)
WHERE copy > 1 AND source_id IN {sources:Array(String)}
;
-- An event of another day, which is not rebuilt, comes before any that was not in this day, if they
-- were received within the time that an id is held: whatever their own times, and by either clock,
-- since ingest may have lagged behind Kafka. Where no such event is left, nothing is read.
INSERT INTO {{ duplicates }}
WITH candidates AS (
    SELECT * FROM fresh
    WHERE {{ rebuild.place }} NOT IN (SELECT {{ rebuild.columns }} FROM {{ duplicates }})
)
SELECT
    {{ rebuild.columns }},
    concat('a copy is among the events of ', toString(min(toDate(others.event_time)))) AS detail
FROM candidates
INNER JOIN (
    SELECT event_id, event_time, received_at, ingested_at FROM {{ target }}
    WHERE toDate(event_time) != {day:Date}
        AND ingested_at >= (SELECT min(ingested_at) FROM candidates) - toIntervalDay({copies_days:UInt16})
        AND ingested_at <= (SELECT max(ingested_at) FROM candidates) + toIntervalDay({copies_days:UInt16})
        AND event_id IN (SELECT event_id FROM candidates)
) AS others USING (event_id)
WHERE abs(dateDiff('second', candidates.ingested_at, others.ingested_at)) < {held_seconds:UInt32}
    OR abs(dateDiff('second', candidates.received_at, others.received_at)) < {held_seconds:UInt32}
GROUP BY {{ rebuild.columns }}
