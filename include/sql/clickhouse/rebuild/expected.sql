{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Per day of arrival: messages that have a verdict and messages that raw_events still holds.
SELECT ingest_day, sum(verdicts) AS verdicts, sum(held) AS held
FROM (
    SELECT toDate(ingested_at) AS ingest_day, count() AS verdicts, 0 AS held FROM {{ target }}
    WHERE toDate(event_time) = {day:Date} AND source_id IN {sources:Array(String)}
        AND {{ rebuild.covered() }}
    GROUP BY ingest_day
    UNION ALL
    SELECT toDate(rejected_at) AS ingest_day, count(), 0 FROM rejected_events
    WHERE toDate(kafka_timestamp) = {day:Date} AND source_id IN {sources:Array(String)}
        AND {{ rebuild.covered() }}
    GROUP BY ingest_day
    UNION ALL
    SELECT toDate(ingested_at) AS ingest_day, 0, count() FROM raw_events
    WHERE source_id IN {sources:Array(String)} AND {{ rebuild.covered() }}
        AND (
            toDate(kafka_timestamp) = {day:Date}
            OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere WHERE is_event)
        )
    GROUP BY ingest_day
)
GROUP BY ingest_day
ORDER BY ingest_day
