-- The columns that a model's table has both in the shadow and in production, in the shadow's order.
SELECT shadow.name
FROM system.columns AS shadow
WHERE
    shadow.database = {shadow:String}
    AND shadow.table = {table:String}
    AND shadow.name IN (
        SELECT name FROM system.columns
        WHERE database = {production:String} AND table = {table:String}
    )
ORDER BY shadow.position
