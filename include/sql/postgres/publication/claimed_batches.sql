SELECT batch_id FROM ingest_batches WHERE state = 'claimed' ORDER BY batch_id
