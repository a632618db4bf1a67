-- Note that a backup of the warehouse is whole.
UPDATE backups
SET state = 'complete', ended_at = clock_timestamp(), byte_count = %s, object_count = %s
WHERE backup_id = %s
