-- Windows in which rows arrived since a moment, and when the last of them did; where the table says
-- nothing of arrivals, also for what was due before.
SELECT
    toDateTime(intDiv(toUnixTimestamp(`{{ time_column }}`), {{ seconds }}) * {{ seconds }}, 'UTC')
        AS window_start,
    max(`{{ arrival_column }}`) AS last_arrival
FROM {{ relation }}
WHERE
    `{{ time_column }}` >= {start:DateTime64(3,'UTC')}
    AND `{{ time_column }}` < {end:DateTime64(3,'UTC')}
{% if has_waiting %}
    AND (
        `{{ arrival_column }}` >= {since:DateTime64(3,'UTC')}
        OR (
            `{{ time_column }}` >= {first:DateTime64(3,'UTC')}
            AND `{{ time_column }}` < {behind:DateTime64(3,'UTC')}
        )
    )
{% else %}
    AND `{{ arrival_column }}` >= {since:DateTime64(3,'UTC')}
{% endif %}
GROUP BY window_start
