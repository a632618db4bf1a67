{# Partitions with events on the day. #}
SELECT DISTINCT source_id, topic, topic_incarnation, partition FROM {{ table }}
WHERE toDate(event_time) = {day:Date} AND source_id IN {sources:Array(String)}
