-- How many rows a partition of a table has.
SELECT sum(rows)
FROM system.parts
WHERE active AND partition = {partition:String} AND concat(database, '.', table) = {name:String}
