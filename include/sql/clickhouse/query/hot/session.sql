-- A session by its id. No index has it: the id of every session is worked out, or of those that began on
-- a day, if that is known.
SELECT
    session_id, started_at, ended_at, duration_seconds, events, page_views, entry_page, exit_page,
    country, device, is_bounce, user_id
FROM analytics.sessions
WHERE (user_id, started_at) IN (
    SELECT user_id, started_at
    FROM analytics.int_session_versions
    WHERE sipHash128(user_id, started_at) = unhex({session_id:String})
        AND (isNull({day:Nullable(Date)}) OR toDate(started_at) = {day:Nullable(Date)})
)
LIMIT 1
SETTINGS date_time_output_format = 'iso'
