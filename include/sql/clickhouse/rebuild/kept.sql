{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Messages that came on the day and are in raw_events.
SELECT count() FROM raw_events
WHERE source_id IN {sources:Array(String)} AND toDate(ingested_at) = {day:Date}
    AND {{ rebuild.covered() }}
