-- Where each partition stands, and when its source last loaded something.
SELECT p.source_id, p.topic, p.partition, p.next_offset,
    extract(epoch FROM clock_timestamp() - coalesce((
        SELECT max(b.loaded_at) FROM ingest_batches AS b
        WHERE b.source_id = p.source_id AND b.state = 'loaded'
    ), min(p.updated_at) OVER (PARTITION BY p.source_id)))::float8 AS seconds_since_load
FROM ingest_positions AS p JOIN data_sources AS s USING (source_id)
WHERE s.is_active
