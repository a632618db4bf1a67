{# Every table that has rows of a user. #}
SELECT c.database, c.table
FROM system.columns AS c
INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE
    c.database IN {databases:Array(String)} AND c.name = 'user_id'
    AND t.engine LIKE '%MergeTree'
ORDER BY c.database, c.table
