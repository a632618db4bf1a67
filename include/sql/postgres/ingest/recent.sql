-- What was loaded in the last minutes, per source.
SELECT
    s.source_id,
    count(b.batch_id) AS batches,
    coalesce(sum(b.message_count), 0)::bigint AS messages,
    coalesce(sum(b.event_count), 0)::bigint AS events,
    coalesce(sum(b.rejected_count), 0)::bigint AS rejected,
    coalesce(sum(b.byte_count), 0)::bigint AS bytes,
    extract(epoch FROM avg(b.loaded_at - b.claimed_at))::float AS load_seconds,
    (SELECT count(*) FROM ingest_batches AS o
     WHERE o.source_id = s.source_id AND o.state = 'claimed') AS open_batches,
    (SELECT extract(epoch FROM clock_timestamp() - min(o.claimed_at))::float FROM ingest_batches AS o
     WHERE o.source_id = s.source_id AND o.state = 'claimed') AS oldest_open_seconds
FROM data_sources AS s
LEFT JOIN ingest_batches AS b ON b.source_id = s.source_id AND b.state = 'loaded'
    AND b.loaded_at > clock_timestamp() - make_interval(secs => %(seconds)s)
WHERE s.is_active
GROUP BY s.source_id
ORDER BY s.source_id
