-- Tables and views that answers may depend on, what tells one from its successor of the same name, and
-- the clock before anything was looked at.
SELECT
    concat(database, '.', name),
    concat(toString(uuid), ' ', toString(toUnixTimestamp(metadata_modification_time))),
    engine,
    toUnixTimestamp64Milli(now64(3)) / 1000
FROM system.tables
WHERE database IN {databases:Array(String)} AND NOT is_temporary
