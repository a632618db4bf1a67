-- What the warehouse holds of some micro-batches.
SELECT batch_id, sum(raw) AS raw, sum(events) AS events, sum(rejected) AS rejected
FROM (
    SELECT batch_id, count() AS raw, 0 AS events, 0 AS rejected FROM raw_events
    WHERE source_id = {source_id:String} AND batch_id BETWEEN {first:UInt64} AND {last:UInt64}
        AND ingested_at >= {since:DateTime64(3, 'UTC')}
    GROUP BY batch_id
    UNION ALL
    SELECT batch_id, 0, count(), 0 FROM {{ target }}
    WHERE source_id = {source_id:String} AND batch_id BETWEEN {first:UInt64} AND {last:UInt64}
        AND ingested_at >= {since:DateTime64(3, 'UTC')}
    GROUP BY batch_id
    UNION ALL
    SELECT batch_id, 0, 0, count() FROM rejected_events
    WHERE source_id = {source_id:String} AND batch_id BETWEEN {first:UInt64} AND {last:UInt64}
        AND rejected_at >= {since:DateTime64(3, 'UTC')}
    GROUP BY batch_id
)
GROUP BY batch_id
