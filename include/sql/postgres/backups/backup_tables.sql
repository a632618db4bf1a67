-- The tables of a backup.
SELECT *
FROM backup_tables
WHERE backup_id = %s
ORDER BY database_name, table_name
