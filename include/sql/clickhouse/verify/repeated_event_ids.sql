{# Events that are in the table more than once although a copy was claimed while its id was held: for
   the duplicate window after the claim of the copy before it, whatever times producers gave.
   One slice of the ids at a time, to bound memory. -#}
WITH arraySort(groupArray(toUnixTimestamp64Milli(ingested_at))) AS claims
SELECT
    toString(event_id) AS event_id,
    count() AS copies,
    arrayStringConcat(
        arraySort(groupArray(3)(concat(topic, '/', toString(partition), '@', toString(offset)))), ', '
    ) AS positions
FROM {{ target }}
WHERE cityHash64(event_id) % {slices:UInt32} = {slice:UInt32}
GROUP BY event_id
HAVING copies > 1
    AND arrayExists(
        (claim, before) -> claim - before < {hours:UInt32} * 3600000,
        arrayPopFront(claims), arrayPopBack(claims)
    )
ORDER BY event_id
LIMIT 1000
