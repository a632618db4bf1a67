-- The partitions that a table has.
SELECT DISTINCT partition_id
FROM system.parts
WHERE active AND database = {database:String} AND table = {table:String}
ORDER BY partition_id
