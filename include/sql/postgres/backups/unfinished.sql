-- Backups of the warehouse that are not known to have ended, or whose leftovers are still to go.
SELECT backup_id
FROM backups
WHERE kind <> 'metadata' AND (state = 'running' OR (state = 'failed' AND object_count IS NULL))
