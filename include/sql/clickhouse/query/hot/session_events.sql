-- The events of a session, in order.
SELECT event_id, event_time, event_type, page, country, device, source_id
FROM events
WHERE user_id = {user_id:UInt64}
    AND event_time >= parseDateTime64BestEffort({started_at:String}, 3, 'UTC')
    AND event_time <= parseDateTime64BestEffort({ended_at:String}, 3, 'UTC')
ORDER BY event_time, event_id
LIMIT 500
SETTINGS date_time_output_format = 'iso'
