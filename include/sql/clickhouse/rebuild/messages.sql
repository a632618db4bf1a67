{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
SELECT *, ingested_at AS rebuild_claimed_at
FROM {{ messages }}
WHERE source_id = {source_id:String} AND topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8} AND partition = {partition:UInt32}
    AND offset >= {first:UInt64} AND offset < {next:UInt64} AND {{ rebuild.covered() }}
    AND (
        toDate(kafka_timestamp) = {day:Date}
        OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere)
    )
LIMIT 1 BY offset
