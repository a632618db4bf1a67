-- What views read.
SELECT concat(database, '.', name), as_select
FROM system.tables
WHERE concat(database, '.', name) IN {names:Array(String)}
