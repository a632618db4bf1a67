{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- The messages to judge, in slices of offsets; one may be there twice, from two sources.
SELECT
    topic, topic_incarnation, partition, intDiv(offset, {slice:UInt64}) AS slot,
    uniqExact(offset) AS messages, count() > messages AS is_repeated
FROM {{ messages }}
WHERE source_id = {source_id:String} AND {{ rebuild.covered() }}
    AND (
        toDate(kafka_timestamp) = {day:Date}
        OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere)
    )
GROUP BY topic, topic_incarnation, partition, slot
ORDER BY ALL
