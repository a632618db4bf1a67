-- The newest complete backup and those it stands on, newest first.
WITH RECURSIVE chain AS (
    (
        SELECT backup_id, base_id, started_at
        FROM backups
        WHERE state = 'complete' AND kind IN ('full', 'incremental')
        ORDER BY started_at DESC
        LIMIT 1
    )
    UNION ALL
    SELECT b.backup_id, b.base_id, b.started_at
    FROM backups AS b
    INNER JOIN chain AS c ON b.backup_id = c.base_id
)
SELECT backup_id, started_at FROM chain ORDER BY started_at DESC
