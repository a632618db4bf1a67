-- Note that a backup failed, and why.
UPDATE backups
SET state = 'failed', reason = %s, ended_at = clock_timestamp()
WHERE backup_id = %s
