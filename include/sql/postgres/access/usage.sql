-- What was sent under each name today, and when it was last used.
SELECT
    name,
    max(used_at) AS used_at,
    coalesce(
        sum(event_count) FILTER (WHERE day = (now() AT TIME ZONE 'UTC')::date), 0
    )::bigint AS events_today
FROM ingest_key_usage
GROUP BY name
