-- Every materialized view, and what it selects.
SELECT concat(database, '.', name), as_select
FROM system.tables
WHERE engine = 'MaterializedView'
