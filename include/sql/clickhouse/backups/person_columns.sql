-- The columns of every table that stores rows, by which those that hold a person are found. What a
-- backup is being written from, or a restore reads into, is not among them unless it is asked for.
SELECT
    c.database, c.table,
    groupArrayIf((c.name, c.type), true) AS columns,
    groupArrayIf(c.name, c.is_in_sorting_key OR c.is_in_partition_key) AS keys,
    any(t.engine) IN ('Log', 'TinyLog', 'StripeLog') AS is_append_only
FROM system.columns AS c
INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
WHERE
{% if staging %}
    c.database = {staging:String}
{% else %}
    c.database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema', 'backup_staging',
        'restore_staging')
{% endif %}
    AND (
        t.engine LIKE '%MergeTree'
        OR t.engine IN ('Log', 'TinyLog', 'StripeLog', 'Memory', 'Join')
    )
    AND NOT t.is_temporary
GROUP BY c.database, c.table
ORDER BY c.database, c.table
