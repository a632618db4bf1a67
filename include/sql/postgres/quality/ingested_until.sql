-- Everything claimed before this moment is in events or rejected_events, as is the same question in
-- transform/published_through.sql.
SELECT least(
    clock_timestamp() - interval '10 seconds',
    (SELECT min(claimed_at) FROM ingest_batches WHERE state = 'claimed')
) AS moment
