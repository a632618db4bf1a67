{# The events of a topic that came since a time, in the order of the log. -#}
SELECT toString(event_id), toString(user_id), partition
FROM {{ target }}
WHERE topic = {topic:String} AND received_at >= toDateTime64({since:Int64} / 1000, 3, 'UTC')
ORDER BY topic_incarnation, partition, offset
