-- What changed past numbers since a moment, as the ledger knows it: gates that took the place of
-- others, people who were erased, micro-batches that a restored store made load again. No start: as
-- far back as there are numbers; no end: until now.
SELECT
    'rule' AS cause, 'The rules of source ' || source_id || ' changed.' AS detail,
    compiled_at AS at, compiled_at AS start, NULL::timestamptz AS "end"
FROM (
    SELECT
        source_id, compiled_at,
        lag(compiled_at) OVER (PARTITION BY source_id ORDER BY compiled_at) AS before
    FROM gates
) AS compiled
WHERE before IS NOT NULL AND compiled_at >= %(since)s
UNION ALL
SELECT 'erasure', 'A person was erased.', completed_at, NULL, requested_at
FROM erasures
WHERE completed_at >= %(since)s
UNION ALL
SELECT
    'restore', 'After a restore of source ' || source_id || ': ' || string_agg(DISTINCT detail, '; '),
    max(occurred_at), NULL, max(occurred_at)
FROM ingest_incidents
WHERE
    kind IN ('warehouse_behind', 'warehouse_ahead', 'rollups_unproven')
    AND occurred_at >= %(since)s
GROUP BY source_id, date_trunc('minute', occurred_at)
