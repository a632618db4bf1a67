{# Begin to follow partitions. #}
INSERT INTO ingest_positions (source_id, topic, partition, topic_id, topic_incarnation, next_offset)
SELECT %(source_id)s, %(topic)s, f.partition, %(topic_id)s, %(incarnation)s, f.next_offset
FROM unnest(%(partitions)s::integer[], %(nexts)s::bigint[]) AS f (partition, next_offset)
ON CONFLICT DO NOTHING
