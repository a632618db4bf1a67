-- A user's last events.
SELECT event_id, event_time, event_type, page, country, device, source_id
FROM events
WHERE user_id = {user_id:UInt64}
    AND ({is_all:Bool} OR source_id IN {sources:Array(String)})
ORDER BY event_time DESC, event_id
LIMIT 50
SETTINGS date_time_output_format = 'iso'
