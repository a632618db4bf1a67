-- The statements that took the longest in all, of the last hour or since the server's start.
SELECT
    user,
    any(log_comment) AS task,
    count() AS runs,
    quantileExact(0.5)(query_duration_ms) AS median_ms,
    max(query_duration_ms) AS slowest_ms,
    sum(query_duration_ms) / 1000 AS total_seconds,
    sum(ProfileEvents['UserTimeMicroseconds'] + ProfileEvents['SystemTimeMicroseconds']) / 1e6 AS cpu_seconds,
    sum(read_rows) AS rows_read,
    max(memory_usage) AS most_bytes,
    any(replaceRegexpAll(
        substring(replaceRegexpOne(query, '(?s)^\\s*/[*].*?[*]/\\s*', ''), 1, 300), '\\s+', ' '
    )) AS statement
FROM system.query_log
WHERE type != 'QueryStart' AND event_time >= now() - INTERVAL 1 HOUR
GROUP BY user, normalized_query_hash
ORDER BY total_seconds DESC
LIMIT {limit:UInt32}
