-- The shadows of rollups, and the parts that they are filled from, of this rebuild or a killed one.
SELECT concat(database, '.', name)
FROM system.tables
WHERE endsWith(name, {suffix:String}) OR endsWith(name, {part:String})
