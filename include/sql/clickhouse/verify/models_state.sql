-- Up to when sessions and activity are built, whether a day was swapped since, and how many events
-- there are.
WITH least(
    (SELECT max(built_through) FROM analytics.int_session_versions),
    (SELECT max(built_through) FROM analytics.int_user_activity_versions)
) AS built
SELECT
    toUnixTimestamp64Milli(built),
    (SELECT count() FROM rebuilt_days WHERE rebuilt_at >= built) > 0,
    (SELECT count() FROM events)
