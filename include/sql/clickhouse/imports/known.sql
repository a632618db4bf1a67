-- Which of these events, sent beside the statement, are there already, however long ago they came.
SELECT toString(event_id)
FROM {{ target }}
WHERE
    event_time BETWEEN parseDateTime64BestEffort({first:String}, 3, 'UTC')
    AND parseDateTime64BestEffort({last:String}, 3, 'UTC')
    AND event_id IN (SELECT event_id FROM file_ids)
