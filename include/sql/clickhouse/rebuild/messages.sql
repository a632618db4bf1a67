{% import 'clickhouse/rebuild/macros.sql.jinja' as rebuild %}
SELECT *, ingested_at AS rebuild_claimed_at
FROM {{ messages }}
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
