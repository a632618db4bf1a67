{% from 'clickhouse/ingest/macros.sql.jinja' import has_expired %}
-- Days of the events that the staged messages may be, and whether the first of a day may have expired.
SELECT DISTINCT
    toDate(event_time) AS day,
    {{ has_expired("toDateTime(day, 'UTC')", '{retention_days:UInt32}') }} AS is_expiring
FROM staged
WHERE empty(failures)
ORDER BY day
