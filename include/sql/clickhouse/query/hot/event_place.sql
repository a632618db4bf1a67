-- In which hour an event arrived, and at which offset, while the register of event ids holds it.
{% import 'clickhouse/contract/positions.sql.jinja' as place %}
{% set hash = place.hash('events', '{event_id:UUID}') %}
SELECT {{ place.offset('position') }} AS offset, toInt64(hour) * 3600000 AS arrived_ms
FROM (
    SELECT
        joinGet('event_id_register', 'position', {{ hash }}) AS position,
        joinGet('event_id_register', 'ingested_hour', {{ hash }}) AS hour
)
WHERE position != 0
