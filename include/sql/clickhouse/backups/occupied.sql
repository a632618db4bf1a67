{# The tables with rows in a target that ought to be empty. #}
SELECT database || '.' || name
FROM system.tables
WHERE
    database IN {databases:Array(String)}
    AND (engine LIKE '%MergeTree' OR engine IN ('Log', 'TinyLog', 'StripeLog', 'Memory'))
    AND total_rows > 0 AND name <> 'schema_migrations'
ORDER BY 1
