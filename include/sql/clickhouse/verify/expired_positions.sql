{# The position, if its event has outlived (or will within a day) what `events` keeps. -#}
SELECT offset
FROM raw_events
WHERE topic = {topic:String}
    AND topic_incarnation = {incarnation:UInt8}
    AND partition = {partition:UInt32}
    AND offset = {offset:UInt64}
    AND parseDateTime64BestEffortOrZero(JSONExtractString(value, 'timestamp'), 3, 'UTC')
        < now64(3) - toIntervalDay({days:UInt32}) + toIntervalDay(1)
LIMIT 1
