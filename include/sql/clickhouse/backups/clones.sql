-- The tables of a cut, and whether merges could change them.
SELECT name, engine LIKE '%MergeTree' AS is_cloned
FROM system.tables
WHERE database = {staging:String}
ORDER BY name
