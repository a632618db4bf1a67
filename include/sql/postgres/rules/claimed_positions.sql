-- Which of some messages a replay has sent, or is to send; what Kafka did not take may be selected
-- again.
SELECT topic, topic_incarnation, partition, "offset"
FROM replayed_events
INNER JOIN unnest(
    %(topics)s::text [], %(incarnations)s::smallint [],
    %(partitions)s::integer [], %(offsets)s::bigint []
) AS wanted (topic, topic_incarnation, partition, "offset")
    USING (topic, topic_incarnation, partition, "offset")
WHERE source_id = %(source_id)s AND outcome IS DISTINCT FROM %(refused)s
