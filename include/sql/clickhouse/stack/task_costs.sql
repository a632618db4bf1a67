-- What each Airflow task cost in ClickHouse, of the last hour or since the server's start.
SELECT
    log_comment AS task,
    any(user) AS account,
    count() AS statements,
    sum(query_duration_ms) / 1000 AS total_seconds,
    sum(ProfileEvents['UserTimeMicroseconds'] + ProfileEvents['SystemTimeMicroseconds']) / 1e6 AS cpu_seconds,
    sum(read_rows) AS rows_read,
    sum(written_rows) AS rows_written,
    max(memory_usage) AS most_bytes
FROM system.query_log
WHERE
    type != 'QueryStart'
    AND event_time >= now() - INTERVAL 1 HOUR
    AND log_comment != ''
GROUP BY task
ORDER BY cpu_seconds DESC
LIMIT {limit:UInt32}
