-- The materialized views that read a table.
SELECT database, name, as_select, create_table_query
FROM system.tables
WHERE engine = 'MaterializedView' AND (database, name) IN (
    SELECT arrayJoin(arrayZip(dependencies_database, dependencies_table))
    FROM system.tables WHERE database = {database:String} AND name = {table:String}
)
ORDER BY database, name
