{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO fresh
SELECT {{ rebuild.columns }}, event_id FROM {{ shadow }}
WHERE source_id = {source_id:String} AND partition = {partition:UInt32}
    AND (topic, topic_incarnation, offset) NOT IN (
        SELECT topic, topic_incarnation, offset FROM {{ target }}
        WHERE toDate(event_time) = {day:Date} AND source_id = {source_id:String}
            AND partition = {partition:UInt32}
    )
