-- Sources of which micro-batches are open.
SELECT DISTINCT source_id FROM ingest_batches WHERE state = 'claimed'
