{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
-- The messages of a slice that the rebuild judges.
SELECT * FROM {{ messages }}
WHERE {{ rebuild.one_log() }}
    AND offset >= {first:UInt64} AND offset < {next:UInt64} AND {{ rebuild.covered() }}
    AND (
        toDate(kafka_timestamp) = {day:Date}
        OR {{ rebuild.place }} IN (SELECT {{ rebuild.columns }} FROM elsewhere)
    )
{% if is_repeated %}
-- Only then: what follows a LIMIT BY runs in one thread.
LIMIT 1 BY offset
{% endif %}
