-- Go on where the import stopped; one that was finished begins again, since its rows may be there no
-- more, or a rule that rejected them may have changed.
INSERT INTO file_imports AS before (digest, topic, reading, file_name, mapping)
VALUES (%(digest)s, %(topic)s, %(reading)s, %(file_name)s, %(mapping)s)
ON CONFLICT (digest, topic, reading) DO UPDATE SET
    updated_at = now(),
    file_name = excluded.file_name,
    turn = before.turn + (before.finished_at IS NOT NULL)::int,
    started_at = CASE WHEN before.finished_at IS NULL THEN before.started_at ELSE now() END,
    rows_confirmed = CASE WHEN before.finished_at IS NULL THEN before.rows_confirmed ELSE 0 END,
    rows_sent = CASE WHEN before.finished_at IS NULL THEN before.rows_sent ELSE 0 END,
    known_rows = CASE WHEN before.finished_at IS NULL THEN before.known_rows ELSE 0 END,
    finished_at = NULL
RETURNING *
