-- The number comes from the sequence, since the ledger forgets old micro-batches.
SELECT
    coalesce(
        pg_sequence_last_value(pg_get_serial_sequence('ingest_batches', 'batch_id')::regclass), 0
    ) AS last_batch,
    array(SELECT batch_id FROM ingest_batches WHERE state = 'claimed' ORDER BY batch_id) AS open_batches
