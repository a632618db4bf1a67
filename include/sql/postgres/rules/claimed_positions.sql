-- Messages that a replay has sent, or is to send; what Kafka did not take may be selected again.
SELECT topic, topic_incarnation, partition, "offset"
FROM replayed_events
WHERE source_id = %(source_id)s AND outcome IS DISTINCT FROM %(refused)s
