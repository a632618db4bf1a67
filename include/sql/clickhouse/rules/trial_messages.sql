-- Messages of a trial's examples, as they were received.
SELECT topic, partition, offset, value
FROM raw_events
WHERE
    source_id = {source_id:String}
    AND ingested_at >= {start:DateTime64(3, 'UTC')}
    AND ingested_at < {end:DateTime64(3, 'UTC')}
    AND (topic, partition, offset) IN {positions:Array(Tuple(String, Int32, Int64))}
