-- What the gate made of a message that was sent.
UPDATE replayed_events
SET outcome = %(outcome)s
WHERE
    replay_id = %(replay_id)s AND topic = %(topic)s AND topic_incarnation = %(incarnation)s
    AND partition = %(partition)s AND "offset" = %(offset)s AND outcome IS NULL
