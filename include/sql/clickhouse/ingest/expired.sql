{% from 'clickhouse/ingest/macros.sql.jinja' import has_expired %}
-- Events of a staged micro-batch that are not in their table because their time is over, and whether
-- that of its rejected messages is.
SELECT count(), {{ has_expired("{claimed_at:DateTime64(3, 'UTC')}", retention_days) }} FROM staged
WHERE {{ has_expired('event_time', retention_days) }}
    AND (partition, offset) NOT IN (SELECT partition, offset FROM refused)
    AND (partition, offset) NOT IN (SELECT partition, offset FROM present WHERE place = 'event')
