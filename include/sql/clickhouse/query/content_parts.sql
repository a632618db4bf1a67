-- The parts of partitions, with those that were merged lately (they stay for some minutes).
-- `min_time` is of the column that the table is partitioned by.
SELECT
    concat(database, '.', table),
    partition_id,
    path,
    cityHash64(path, modification_time),
    min_block_number,
    max_block_number,
    data_version,
    if(toUInt16(max_date) > 0, toUnixTimestamp(toDateTime(min_date, 'UTC')), toUnixTimestamp(min_time)),
    if(toUInt16(max_date) > 0, toUnixTimestamp(toDateTime(max_date, 'UTC')) + 86399, toUnixTimestamp(max_time)),
    toUnixTimestamp(delete_ttl_info_min),
    active
FROM system.parts
WHERE (active OR remove_time >= now() - INTERVAL {seconds:UInt32} SECOND)
    AND database IN {databases:Array(String)}
    AND (
        {is_all:Bool}
        OR concat(
            database, '.', table, ' ',
            if(
                length(partition_id) = 8 AND partition_id < {recent:String},
                left(partition_id, 6), partition_id
            )
        ) IN {groups:Array(String)}
    )
