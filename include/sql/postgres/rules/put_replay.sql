-- A replay that waits for approval.
INSERT INTO replays (source_id, criteria, repair, preview)
VALUES (%(source_id)s, %(criteria)s, %(repair)s, %(preview)s)
RETURNING replay_id
