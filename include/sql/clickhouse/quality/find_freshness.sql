{% import 'clickhouse/quality/macros.sql.jinja' as quality %}
-- How old events are when they are taken up (95th percentile of the hour they arrive in), by event
-- type and by each country and device of it, against the same hour of the week. Only later than
-- usual is an anomaly. Hours of a series that stood out are in none of its baselines.
INSERT INTO quality_anomalies
WITH
    {{ quality.earlier() }} AS earlier,
    measured AS (
        SELECT
            toStartOfHour(ingested_at) AS hour, event_type,
            {{ quality.dimensions() }} AS dimension,
            quantileTDigest(0.95)(
                greatest(dateDiff('millisecond', event_time, ingested_at), 0) / 1000
            ) AS value
        FROM events
        WHERE {{ quality.in_hours('ingested_at') | indent(12) }}
        GROUP BY hour, event_type, dimension
        HAVING count() >= {least_events:UInt32}
    ),
    baseline AS (
        SELECT event_type, dimension, groupArray(value) AS usual
        FROM measured
        WHERE hour < {start:DateTime('UTC')} AND {{ quality.was_usual('freshness') | indent(12) }}
        GROUP BY event_type, dimension
        HAVING length(usual) >= {least:UInt8}
    )
-- Ages are long-tailed: a tenth of what is expected, and a second, are noise.
{{ quality.far_from_usual('freshness', 'INNER', '(value - expected)', '0.1 * expected, 1') }}
