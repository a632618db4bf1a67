-- How far an import is: everything up to this row was acknowledged, bad, or there already. The first
-- note is made before anything is sent.
UPDATE file_imports SET
    rows_confirmed = %(rows)s,
    rows_sent = %(sent)s,
    known_rows = %(known)s,
    bad_rows = %(bad)s,
    updated_at = now(),
    sending_at = coalesce(sending_at, now()),
    finished_at = CASE WHEN %(is_finished)s THEN now() END
WHERE import_id = %(import_id)s
