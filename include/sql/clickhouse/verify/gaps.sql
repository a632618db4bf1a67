{# Where offsets of a partition jump, up to an end: (first missing, next present). -#}
SELECT previous + 1 AS first_offset, offset AS next_offset
FROM (
    SELECT offset, lagInFrame(offset, 1, offset) OVER (ORDER BY offset) AS previous
    FROM raw_events
    WHERE topic = {topic:String}
        AND topic_incarnation = {incarnation:UInt8}
        AND partition = {partition:UInt32}
        AND offset < {until:UInt64}
)
WHERE offset > previous + 1
ORDER BY first_offset
