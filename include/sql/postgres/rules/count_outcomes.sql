-- How many messages of a replay ended how.
SELECT coalesce(outcome, 'pending') AS outcome, count(*) AS events
FROM replayed_events
WHERE replay_id = %(replay_id)s
GROUP BY 1
