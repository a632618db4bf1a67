-- What partitions consist of, in a number: of each recent one, and of the older ones of a month. A
-- part's path has the table's identity and the part's name; its time tells a part from an earlier one
-- of the same name.
SELECT
    concat(database, '.', table),
    if(
        length(partition_id) = 8 AND partition_id < {recent:String},
        left(partition_id, 6), partition_id
    ) AS partition_group,
    sum(cityHash64(path, modification_time))
FROM system.parts
WHERE active AND database IN {databases:Array(String)}
GROUP BY 1, 2
