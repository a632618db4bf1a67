{# Note that a view was taken out of ingest's path. #}
INSERT INTO withdrawn_views (view, rollups, definition, error, batch_id, may_pass)
VALUES (%(view)s, %(rollups)s, %(definition)s, %(error)s, %(batch_id)s, %(may_pass)s)
ON CONFLICT (view) DO UPDATE SET
    rollups = excluded.rollups, definition = excluded.definition, error = excluded.error,
    batch_id = excluded.batch_id, may_pass = excluded.may_pass, withdrawn_at = now(),
    tried_release = ''
