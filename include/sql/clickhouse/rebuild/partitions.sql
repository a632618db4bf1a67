-- The partitions of a table that have rows.
SELECT DISTINCT partition
FROM system.parts
WHERE active AND rows > 0 AND concat(database, '.', table) = {name:String}
