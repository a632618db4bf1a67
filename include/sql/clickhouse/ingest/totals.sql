{# Rows and bytes of the base tables, for Prometheus. #}
SELECT concat(table, '_rows') AS name, toFloat64(sum(rows)) AS value FROM system.parts
WHERE database = {database:String} AND active
    AND table IN ('raw_events', 'events', 'rejected_events')
GROUP BY table
UNION ALL
SELECT concat(table, '_bytes'), toFloat64(sum(bytes_on_disk)) FROM system.parts
WHERE database = {database:String} AND active
    AND table IN ('raw_events', 'events', 'rejected_events')
GROUP BY table
UNION ALL
SELECT concat(table, '_parts'), toFloat64(count()) FROM system.parts
WHERE database = {database:String} AND active
    AND table IN ('raw_events', 'events', 'rejected_events')
GROUP BY table
UNION ALL
SELECT 'register_ids', toFloat64(total_rows) FROM system.tables
WHERE database = {database:String} AND name = 'event_id_register'
UNION ALL
SELECT 'register_bytes', toFloat64(total_bytes) FROM system.tables
WHERE database = {database:String} AND name = 'event_id_register'
