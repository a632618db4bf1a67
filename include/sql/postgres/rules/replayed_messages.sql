-- Messages of a replay, from a place in its order on.
SELECT topic, topic_incarnation, partition, "offset", sequence
FROM replayed_events
WHERE replay_id = %(replay_id)s AND sequence >= %(first)s
ORDER BY sequence
LIMIT %(limit)s
