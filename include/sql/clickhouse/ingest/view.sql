{# How a materialized view was made. #}
SELECT create_table_query FROM system.tables
WHERE engine = 'MaterializedView' AND concat(database, '.', name) = {view:String}
