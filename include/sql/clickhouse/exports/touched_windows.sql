-- Windows in which rows arrived since a moment.
SELECT DISTINCT
    toDateTime(intDiv(toUnixTimestamp(`{{ time_column }}`), {{ seconds }}) * {{ seconds }}, 'UTC')
        AS window_start
FROM {{ relation }}
WHERE
    `{{ arrival_column }}` >= {since:DateTime64(3,'UTC')}
    AND `{{ time_column }}` >= {start:DateTime64(3,'UTC')}
    AND `{{ time_column }}` < {end:DateTime64(3,'UTC')}
