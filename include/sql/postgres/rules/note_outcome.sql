-- What became of messages that were not sent.
UPDATE replayed_events
SET outcome = %(outcome)s, detail = %(detail)s
WHERE replay_id = %(replay_id)s AND sequence = ANY(%(sequences)s)
