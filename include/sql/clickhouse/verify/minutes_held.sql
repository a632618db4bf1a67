-- The first and last minute (since 1970) of events that are not about to expire.
SELECT intDiv(min(toUnixTimestamp(event_time)), 60), intDiv(max(toUnixTimestamp(event_time)), 60)
FROM events
WHERE toDate(event_time) >= toDate(fromUnixTimestamp64Milli({since:Int64}, 'UTC')) + 1
