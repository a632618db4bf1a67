-- What became of a drill.
UPDATE restore_drills
SET
    ended_at = %s, state = %s, backup_id = %s, metadata_backup_id = %s, rto_seconds = %s,
    metadata_rpo_seconds = %s, report = %s
WHERE drill_id = %s
