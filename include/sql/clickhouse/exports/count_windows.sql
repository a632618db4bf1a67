{# How many rows each window of an export has. #}
SELECT
    toDateTime(intDiv(toUnixTimestamp(`{{ time_column }}`), {{ seconds }}) * {{ seconds }}, 'UTC')
        AS window_start,
    count() AS row_count
FROM {{ relation }}
WHERE
    `{{ time_column }}` >= {start:DateTime64(3,'UTC')}
    AND `{{ time_column }}` < {end:DateTime64(3,'UTC')}
GROUP BY window_start
