-- The backup of the warehouse that was begun last and has not ended.
SELECT backup_id, cut_at
FROM backups
WHERE state = 'running' AND kind <> 'metadata'
ORDER BY started_at DESC
LIMIT 1
