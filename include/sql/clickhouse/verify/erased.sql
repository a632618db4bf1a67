{# Offsets that an erasure took on purpose, by incarnation and partition. -#}
SELECT DISTINCT topic_incarnation AS incarnation, partition, offset
FROM erased_positions
WHERE topic = {topic:String}
ORDER BY incarnation, partition, offset
