{# Micro-batches of which a table has rows. #}
SELECT DISTINCT batch_id
FROM {{ table }}
WHERE batch_id IN {batch_ids:Array(UInt64)}
ORDER BY batch_id
