-- The moment that a backup is of, and what stood then.
UPDATE backups
SET cut_at = %s, lock_seconds = %s, positions = %s, details = %s
WHERE backup_id = %s
