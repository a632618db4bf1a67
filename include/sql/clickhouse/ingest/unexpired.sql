{% from 'clickhouse/ingest/macros.sql.jinja' import has_expired %}
-- Messages of a staged micro-batch that are in neither table, although what they say is still kept.
SELECT count() FROM staged
WHERE (partition, offset) NOT IN (
        SELECT partition, offset FROM present WHERE place IN ('event', 'rejected')
    )
    AND (notEmpty(failures) OR NOT ({{ has_expired('event_time', retention_days) }}))
