{# The ranges of micro-batches. #}
SELECT source_id, topic, topic_incarnation, partition, first_offset, next_offset
FROM ingest_ranges
WHERE batch_id = ANY(%(batches)s::bigint[])
