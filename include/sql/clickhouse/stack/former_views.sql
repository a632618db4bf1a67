-- Views that were made before there were accounts, and ask for the rights of who reads them.
SELECT database, name
FROM system.tables
WHERE engine = 'View' AND database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA')
    AND create_table_query NOT LIKE '%SQL SECURITY%'
