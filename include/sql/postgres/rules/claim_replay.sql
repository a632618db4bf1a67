-- What was previewed becomes the replay's own, but for messages that another replay has meanwhile.
INSERT INTO replayed_events AS held (
    source_id, topic, topic_incarnation, partition, "offset", replay_id, sequence
)
SELECT source_id, topic, topic_incarnation, partition, "offset", replay_id, sequence
FROM previewed_events
JOIN replays USING (replay_id)
WHERE replay_id = %(replay_id)s
ON CONFLICT (source_id, topic, topic_incarnation, partition, "offset") DO UPDATE SET
    replay_id = EXCLUDED.replay_id, sequence = EXCLUDED.sequence, outcome = NULL, detail = ''
WHERE held.outcome = %(refused)s
