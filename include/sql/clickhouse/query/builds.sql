{# Up to when all models are built, and the days that were swapped since. The minute allows for
   clocks that differ. #}
WITH (SELECT max(finished_at) FROM {{ base }}.finished_builds) AS finished
SELECT
    (SELECT toUnixTimestamp64Milli(max(built_through)) FROM {{ base }}.finished_builds) AS built_through,
    (
        SELECT arraySort(groupUniqArray(toUInt32(day))) FROM {{ base }}.rebuilt_days
        WHERE rebuilt_at >= finished - INTERVAL 1 MINUTE
    ) AS rebuilt
