{# Every materialized view, and how it was made. #}
SELECT concat('`', database, '`.`', name, '`') AS view, create_table_query FROM system.tables
WHERE engine = 'MaterializedView'
