-- The columns that a table has; none if it is not there.
SELECT name FROM system.columns
WHERE database = currentDatabase() AND table = {table:String}
ORDER BY position
