SELECT DISTINCT batch_id
FROM {{ table }}
WHERE batch_id IN {batch_ids:Array(UInt64)}
ORDER BY batch_id
