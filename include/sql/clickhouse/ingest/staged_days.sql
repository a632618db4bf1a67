-- Days of the events that the staged messages may be, and whether the first of a day may have expired.
SELECT DISTINCT
    toDate(event_time) AS day,
    toDateTime(day, 'UTC') + toIntervalDay({retention_days:UInt32}) <= now() AS is_expiring
FROM staged
WHERE empty(failures)
ORDER BY day
