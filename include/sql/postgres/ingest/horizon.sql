-- The arrival that is farthest back among what can still meet a copy: now, unless a partition lags
-- (then where it stands) or a batch is still open (then when it was claimed).
SELECT least(
    clock_timestamp(),
    (SELECT min(reached_at) FROM ingest_positions AS p JOIN data_sources AS s USING (source_id)
     WHERE s.is_active AND (p.source_id, p.partition) IN (
         SELECT * FROM unnest(%(sources)s::text[], %(partitions)s::integer[])
     )),
    (SELECT min(claimed_at) FROM ingest_batches WHERE state = 'claimed')
) - make_interval(hours => %(window_hours)s) AS horizon
