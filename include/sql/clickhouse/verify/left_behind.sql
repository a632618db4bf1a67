-- Tables that a step of an operation makes and takes away again.
SELECT database, name
FROM system.tables
WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema') AND NOT is_temporary
    AND (match(name, '__(rebuild|mend|shadow|dbt_(tmp|backup|new_data))') OR match(database, 'shadow|sandbox|restor'))
ORDER BY database, name
