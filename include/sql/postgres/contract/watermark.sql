-- Everything claimed before this moment is published. A claim reads the clock a moment before it
-- commits, hence the margin where nothing is open.
SELECT least(
    clock_timestamp() - interval '10 seconds',
    (SELECT min(claimed_at) FROM ingest_batches WHERE state = 'claimed')
) AS moment
