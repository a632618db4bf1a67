-- Parts on the plain disk, those included that were moved and wait to be removed.
SELECT database, table, name
FROM system.parts
WHERE disk_name = 'default'
