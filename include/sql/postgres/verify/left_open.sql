-- What ends with the operation that began it, and did not.
SELECT what, number
FROM (
    SELECT 'micro-batches' AS what, count(*) AS number FROM ingest_batches WHERE state = 'claimed'
    UNION ALL
    SELECT 'exports', count(*) FROM export_runs WHERE state = 'running'
    UNION ALL
    SELECT 'backups', count(*) FROM backups WHERE state NOT IN ('complete', 'failed')
) AS open
WHERE number > 0
