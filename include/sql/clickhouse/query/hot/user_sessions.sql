-- A user's last sessions, from when they were last built.
SELECT
    session_id, started_at, ended_at, duration_seconds, events, page_views, entry_page, exit_page,
    country, device, is_bounce
FROM analytics.sessions
WHERE user_id = {user_id:UInt64}
ORDER BY started_at DESC
LIMIT 20
SETTINGS date_time_output_format = 'iso'
