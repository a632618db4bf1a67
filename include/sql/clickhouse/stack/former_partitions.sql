-- What of the former engine's tables still lies on the plain disk.
SELECT DISTINCT database, table, partition_id
FROM system.parts
WHERE disk_name = 'default' AND active
ORDER BY ALL
