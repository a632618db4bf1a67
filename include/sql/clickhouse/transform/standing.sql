-- How the warehouse describes what stands in a database. Statements are compared as the server
-- prints them, without the parentheses that dbt puts around some.
SELECT
    name,
    engine,
    partition_key,
    sorting_key,
    arrayStringConcat(columns, ', ') AS columns,
    if(engine IN ('View', 'MaterializedView'), trim(BOTH '()' FROM as_select), '') AS statement
FROM system.tables
LEFT JOIN (
    SELECT table AS name, groupArray(concat(name, ' ', type)) AS columns
    FROM (
        SELECT table, name, type FROM system.columns
        WHERE database = {database:String} ORDER BY table, position
    )
    GROUP BY table
) AS described USING (name)
WHERE database = {database:String}
ORDER BY name
