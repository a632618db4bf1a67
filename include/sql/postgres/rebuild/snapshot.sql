-- The last number that was given: no lower than those of this second can be, since the ledger
-- forgets old micro-batches.
SELECT
    greatest(
        (floor(extract(epoch FROM clock_timestamp()))::bigint << 20) - 1,
        (SELECT max(batch_id) FROM ingest_batches)
    ) AS last_batch,
    array(SELECT batch_id FROM ingest_batches WHERE state = 'claimed' ORDER BY batch_id) AS open_batches
