{# Let go of a topic's partitions. #}
UPDATE ingest_positions
SET owner = '', lease_until = 'epoch', updated_at = clock_timestamp()
WHERE source_id = %(source_id)s AND topic = %(topic)s AND owner = %(owner)s
