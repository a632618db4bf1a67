{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- What the ledger has forgotten, the verdicts may still tell: when a message came, and in which
-- micro-batch.
INSERT INTO claims
SELECT partition, min(offset), max(offset) + 1, batch_id, any(ingested_at)
FROM ({{ rebuild.verdicts(target) }})
WHERE topic = {topic:String} AND topic_incarnation = {incarnation:UInt8}
    AND offset >= {first:UInt64} AND offset < {next:UInt64}
    AND batch_id NOT IN (SELECT batch_id FROM claims)
GROUP BY partition, batch_id
