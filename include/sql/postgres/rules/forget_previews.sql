-- Selections that were previewed and not approved for long; an approval is waited for for a week.
DELETE FROM previewed_events
WHERE replay_id IN (
    SELECT replay_id FROM replays
    WHERE state = 'previewed' AND created_at < now() - interval '30 days'
)
