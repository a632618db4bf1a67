SELECT
    (SELECT coalesce(max(batch_id), 0) FROM ingest_batches) AS last_batch,
    array(SELECT batch_id FROM ingest_batches WHERE state = 'claimed' ORDER BY batch_id) AS open_batches
