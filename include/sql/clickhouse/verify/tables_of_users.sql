-- Every stored table, with the columns in which a user's number or an event's id can stand.
SELECT c.database, c.table, groupArray(c.name) AS columns
FROM system.columns AS c
INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE t.engine LIKE '%MergeTree' AND c.database IN (currentDatabase(), 'analytics', 'published')
    AND match(c.type, 'String|Map|Int|Array|JSON|UUID') AND c.default_kind != 'ALIAS'
GROUP BY c.database, c.table
ORDER BY c.database, c.table
