{# Events that are in the table more than once although the copies arrived within the duplicate
   window of each other.
   One slice of the ids at a time, to bound memory. -#}
SELECT
    toString(event_id) AS event_id,
    count() AS copies,
    arrayStringConcat(
        arraySort(groupArray(3)(concat(topic, '/', toString(partition), '@', toString(offset)))), ', '
    ) AS positions
FROM {{ target }}
WHERE cityHash64(event_id) % {slices:UInt32} = {slice:UInt32}
GROUP BY event_id
HAVING copies > 1 AND max(received_at) < min(received_at) + toIntervalHour({hours:UInt32})
ORDER BY event_id
LIMIT 1000
