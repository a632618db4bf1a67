{% import 'clickhouse/quality/macros.sql.jinja' as quality %}
-- Volumes of an hour, by event type and by each country and device of it, against the same hour of
-- the week. Hours of a series that stood out are in none of its baselines.
INSERT INTO quality_anomalies
WITH
    {{ quality.earlier() }} AS earlier,
    measured AS (
        SELECT
            toStartOfHour(event_time) AS hour, event_type,
            {{ quality.dimensions() }} AS dimension,
            count() AS value
        FROM events
        WHERE {{ quality.in_hours('event_time') | indent(12) }}
        GROUP BY hour, event_type, dimension
    ),
    -- Hours in which there was any event at all: the others were no silence of one series.
    usable AS (
        SELECT hour FROM measured WHERE hour < {start:DateTime('UTC')} GROUP BY hour
    ),
    baseline AS (
        SELECT event_type, dimension, groupArray(events) AS usual
        FROM (
            SELECT
                s.event_type AS event_type, s.dimension AS dimension, u.hour AS hour,
                any(m.value) AS events
            FROM (
                SELECT DISTINCT event_type, dimension FROM measured
                WHERE hour < {start:DateTime('UTC')}
            ) AS s
            CROSS JOIN usable AS u
            LEFT JOIN measured AS m
                ON m.hour = u.hour AND m.event_type = s.event_type AND m.dimension = s.dimension
            GROUP BY s.event_type, s.dimension, u.hour
        )
        WHERE {{ quality.was_usual('volume') | indent(12) }}
        GROUP BY event_type, dimension
        HAVING length(usual) >= {least:UInt8}
    )
-- A volume's own noise is at least that of counting: the root of what is expected.
{{ quality.far_from_usual('volume', 'LEFT', 'abs(value - expected)', 'sqrt(expected), 1') }}
