-- The views of a database that ingest feeds.
SELECT concat(database, '.', name) AS view
FROM system.tables
WHERE database = {database:String} AND engine = 'MaterializedView'
ORDER BY view
