{% import 'clickhouse/quality/macros.sql.jinja' as quality %}
-- How the countries and devices of an event type's events are distributed, against the mean of the
-- same hour of the week: the population stability index, sum((now - usual) * ln(now / usual)) over
-- the shares. Above 0.25 a population is held to have shifted (Siddiqi, Credit Risk Scorecards,
-- 2006). Of few events the index is large by chance: times the harmonic size of both samples it
-- follows chi-squared with one degree of freedom less than values (Yurdakul, Statistical Properties
-- of Population Stability Index, 2018), so that quantile has to be passed too (approximated after
-- Wilson and Hilferty). Values usually below a hundredth count as one, and hours of a series that
-- stood out are in none of its baselines.
INSERT INTO quality_anomalies
WITH
    {{ quality.earlier() }} AS earlier,
    counted AS (
        SELECT
            toStartOfHour(event_time) AS hour, event_type, pair.1 AS dimension, pair.2 AS entry,
            count() AS events
        FROM events
        ARRAY JOIN [('country', toString(country)), ('device', toString(device))] AS pair
        WHERE {{ quality.in_hours('event_time') | indent(12) }}
        GROUP BY hour, event_type, dimension, entry
    ),
    kept AS (
        SELECT
            *,
            hour = {start:DateTime('UTC')} AS is_now,
            sum(events) OVER (PARTITION BY hour, event_type, dimension) AS hour_events
        FROM counted
        WHERE hour = {start:DateTime('UTC')} OR {{ quality.was_usual('distribution') | indent(12) }}
    ),
    -- Each week weighs the same, however many events it had.
    entries AS (
        SELECT
            event_type, dimension, entry,
            sumIf(events / hour_events, NOT is_now) AS weight,
            sumIf(events, is_now) AS events_now,
            sumIf(events, NOT is_now) AS events_usual
        FROM kept
        GROUP BY event_type, dimension, entry
    ),
    series AS (
        SELECT event_type, dimension, uniqExactIf(hour, NOT is_now) AS hours
        FROM kept
        GROUP BY event_type, dimension
        HAVING hours >= {least:UInt8}
    ),
    grouped AS (
        SELECT
            e.event_type AS event_type, e.dimension AS dimension, any(s.hours) AS hours,
            if(e.weight / s.hours < 0.01, '(rare)', e.entry) AS entry,
            sum(e.weight) / hours AS usual,
            sum(e.events_now) AS events_now,
            sum(e.events_usual) AS events_usual
        FROM entries AS e
        INNER JOIN series AS s ON e.event_type = s.event_type AND e.dimension = s.dimension
        GROUP BY event_type, dimension, entry
    ),
    shares AS (
        SELECT
            event_type, dimension, hours, events_now, events_usual,
            count() OVER (PARTITION BY event_type, dimension) AS entries,
            sum(events_now) OVER (PARTITION BY event_type, dimension) AS total_now,
            -- half an event more of each, so that no share is nothing
            (events_now + 0.5) / (total_now + 0.5 * entries) AS share_now,
            (usual * total_usual + 0.5) / (total_usual + 0.5 * entries) AS share_usual,
            sum(events_usual) OVER (PARTITION BY event_type, dimension) AS total_usual
        FROM grouped
    )
SELECT
    'distribution',
    {start:DateTime('UTC')},
    {end:DateTime('UTC')},
    event_type,
    dimension,
    sum((share_now - share_usual) * ln(share_now / share_usual)) AS value,
    greatest(
        {threshold:Float64},
        freedom * pow(1 - 2 / (9 * freedom) + {z:Float64} * sqrt(2 / (9 * freedom)), 3)
        * (1 / any(total_now) + 1 / any(total_usual))
    ) AS expected,
    value / expected AS distance,
    any(hours),
    {now:DateTime64(3, 'UTC')}
FROM shares
GROUP BY event_type, dimension, entries - 1 AS freedom
HAVING freedom > 0 AND any(total_now) > 0 AND value > expected
