-- Sessions that ended while one of their access tokens may still be good.
SELECT session_id FROM sessions
WHERE ended_at > clock_timestamp() - make_interval(secs => %(seconds)s)
