-- Tables whose rows no backup keeps, though somebody may have put some there.
SELECT concat(database, '.', name, ' (', engine, ')')
FROM system.tables
WHERE
    database IN {databases:Array(String)} AND name != 'event_id_register'
    AND engine NOT LIKE '%MergeTree' AND engine NOT LIKE '%View'
    AND engine NOT IN ('Log', 'TinyLog', 'StripeLog', 'Memory', 'Dictionary', 'Null', 'Alias')
    AND NOT is_temporary
ORDER BY 1
