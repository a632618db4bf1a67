{# Windows in which a dataset has rows. #}
SELECT DISTINCT
    intDiv(toUnixTimestamp({{ time_column }}), {seconds:UInt32}) * {seconds:UInt32} AS window_start
FROM {{ relation }}
WHERE
    {{ time_column }} >= {start:DateTime64(3, 'UTC')}
    AND {{ time_column }} < {end:DateTime64(3, 'UTC')}
