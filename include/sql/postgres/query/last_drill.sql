-- The last drill of a restore that ended.
SELECT state, ended_at, rto_seconds, metadata_rpo_seconds
FROM restore_drills
WHERE ended_at IS NOT NULL
ORDER BY drill_id DESC
LIMIT 1
