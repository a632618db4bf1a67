{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- A message that neither the ledger nor a verdict knows of came when Kafka got it; unless the topic
-- lost its end once, after which such an offset may belong to the incarnation before. What an erasure
-- took stays away, though Kafka still has it.
INSERT INTO {{ gathered }}
SELECT
    {source_id:String}, {topic:String}, {incarnation:UInt8}, partition, offset, kafka_timestamp,
    key, value, headers,
    if(offset < next_offset, batch_id, 0), if(offset < next_offset, claimed_at, kafka_timestamp)
FROM fetched
ASOF LEFT JOIN claims ON fetched.partition = claims.partition AND offset >= first_offset
WHERE ({incarnation:UInt8} = 0 OR offset < next_offset) AND offset NOT IN (
    SELECT offset FROM {{ gathered }}
    WHERE {{ rebuild.one_log() }}
        AND offset >= {first:UInt64} AND offset < {next:UInt64}
)
AND offset NOT IN (
    SELECT offset FROM erased_positions
    WHERE topic = {topic:String} AND topic_incarnation = {incarnation:UInt8}
        AND partition = {partition:UInt32}
        AND offset >= {first:UInt64} AND offset < {next:UInt64}
)
