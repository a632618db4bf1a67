-- The newest version of an export's columns.
SELECT version, columns, changes FROM export_schemas
WHERE name = %s
ORDER BY version DESC
LIMIT 1
