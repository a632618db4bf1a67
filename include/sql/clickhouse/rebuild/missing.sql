{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- Messages of a partition that have a verdict and were not gathered, by micro-batch.
SELECT
    source_id, topic, topic_incarnation, partition, min(offset), max(offset) + 1 AS next_offset,
    count()
FROM ({{ rebuild.verdicts(target) }})
WHERE (topic, topic_incarnation, offset) NOT IN (
    SELECT topic, topic_incarnation, offset FROM {{ gathered }}
    WHERE source_id = {source_id:String} AND partition = {partition:UInt32}
)
GROUP BY source_id, topic, topic_incarnation, partition, batch_id
ORDER BY ALL
