-- Note that a base backup of PostgreSQL is whole.
UPDATE backups
SET
    state = 'complete', ended_at = clock_timestamp(), cut_at = clock_timestamp(),
    byte_count = %s, object_count = 3, details = %s
WHERE backup_id = %s
