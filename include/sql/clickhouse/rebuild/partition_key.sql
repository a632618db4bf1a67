-- What a table is partitioned by.
SELECT partition_key
FROM system.tables
WHERE database = {database:String} AND name = {table:String}
