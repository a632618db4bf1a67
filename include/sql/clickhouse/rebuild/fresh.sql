{# Events of a partition that the rebuild makes and the table has not. #}
{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
INSERT INTO fresh
SELECT {{ rebuild.columns }}, event_id, received_at, ingested_at FROM {{ shadow }}
WHERE {{ rebuild.one_log() }} AND offset NOT IN (
    SELECT offset FROM {{ target }}
    WHERE toDate(event_time) = {day:Date} AND {{ rebuild.one_log() }}
)
