-- How many rows each of the given windows holds.
SELECT
    toDateTime(intDiv(toUnixTimestamp(`{{ time_column }}`), {{ seconds }}) * {{ seconds }}, 'UTC')
        AS window_start,
    count() AS row_count
FROM {{ relation }}
WHERE
    `{{ time_column }}` >= {start:DateTime64(3,'UTC')}
    AND `{{ time_column }}` < {end:DateTime64(3,'UTC')}
    AND window_start IN {starts:Array(DateTime('UTC'))}
GROUP BY window_start
