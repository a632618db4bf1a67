{# From where to where raw_events holds each partition of the topic. -#}
SELECT
    topic_incarnation AS incarnation,
    partition,
    min(offset) AS first_offset,
    max(offset) + 1 AS next_offset
FROM raw_events
WHERE topic = {topic:String}
GROUP BY incarnation, partition
ORDER BY incarnation, partition
