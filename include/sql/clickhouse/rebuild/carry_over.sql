{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Events of sources that are not active (any more) stay as they are.
INSERT INTO {{ shadow }}
SELECT * FROM {{ target }}
WHERE toDate(event_time) = {day:Date} AND source_id NOT IN {sources:Array(String)}
    AND {{ rebuild.covered() }}
