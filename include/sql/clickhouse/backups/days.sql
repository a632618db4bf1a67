-- The days that a table partitioned by day has rows of.
SELECT DISTINCT toDate(partition) AS day FROM system.parts
WHERE active AND rows > 0 AND database = {database:String} AND table = {table:String}
ORDER BY day
