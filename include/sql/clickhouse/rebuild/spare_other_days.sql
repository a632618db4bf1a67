{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- What today's rules would reject of another day's events is for that day's rebuild.
DELETE FROM {{ rejected_shadow }}
WHERE {{ rebuild.place }} IN (
    SELECT {{ rebuild.columns }} FROM {{ target }}
    WHERE toDate(event_time) != {day:Date}
        AND ingested_at BETWEEN (SELECT min(rejected_at) FROM {{ rejected_shadow }})
            AND (SELECT max(rejected_at) FROM {{ rejected_shadow }})
        AND {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM {{ rejected_shadow }})
)
