-- A user's events by day (UTC) and type.
SELECT toDate(event_time) AS day, event_type, count() AS events,
    min(event_time) AS first_at, max(event_time) AS last_at
FROM events
WHERE user_id = {user_id:UInt64}
    AND ({is_all:Bool} OR source_id IN {sources:Array(String)})
GROUP BY day, event_type
ORDER BY day, event_type
SETTINGS date_time_output_format = 'iso'
