{% from 'clickhouse/ingest/macros.sql.jinja' import has_expired %}
-- Events of a staged micro-batch that are not in their table because their time is over.
SELECT count() FROM staged
WHERE {{ has_expired(retention_days) }}
    AND (partition, offset) NOT IN (SELECT partition, offset FROM refused)
    AND (partition, offset) NOT IN (SELECT partition, offset FROM present WHERE place = 'event')
