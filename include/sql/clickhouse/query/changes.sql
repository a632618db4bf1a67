{# What changed past numbers since a moment, as the warehouse knows it: days that were swapped, and
   models that were deployed. #}
SELECT
    'rebuild' AS cause, concat('Swapped: ', reason) AS detail,
    toUnixTimestamp64Milli(rebuilt_at) AS at,
    toUnixTimestamp(toDateTime(day, 'UTC')) AS start,
    start + 86400 AS end
FROM {{ base }}.rebuilt_days
WHERE rebuilt_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
UNION ALL
SELECT
    'model', concat('Deployed: ', arrayStringConcat(arraySort(groupArray(name)), ', ')),
    toInt64(max(toUnixTimestamp(metadata_modification_time))) * 1000,
    0, toUnixTimestamp(max(metadata_modification_time))
FROM system.tables
WHERE
    database = 'analytics' AND NOT startsWith(name, '.inner') AND NOT endsWith(name, '_mv')
    AND toUnixTimestamp(metadata_modification_time) >= intDiv({since:Int64}, 1000)
GROUP BY toStartOfMinute(metadata_modification_time)
