-- Failed backups whose objects were not deleted yet.
SELECT backup_id
FROM backups
WHERE state = 'failed' AND kind <> 'metadata' AND object_count IS NULL
