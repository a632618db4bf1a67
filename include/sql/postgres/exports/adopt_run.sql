-- A run that PostgreSQL has forgotten, or taken for replaced, is the one whose files readers are
-- shown. Its number may have been given to another meanwhile.
WITH known AS (
    UPDATE export_runs
    SET name = %(name)s, window_start = %(start)s, window_end = %(end)s,
        state = 'published', objects_deleted_at = NULL, row_count = %(row_count)s,
        byte_count = %(byte_count)s, content_hash = %(content_hash)s,
        snapshot_at = %(snapshot_at)s, schema_version = %(schema_version)s,
        ended_at = coalesce(ended_at, clock_timestamp())
    WHERE prefix = %(prefix)s
    RETURNING run_id
),
new AS (
    INSERT INTO export_runs (
        run_id, name, window_start, window_end, state, requested_by, prefix, snapshot_at,
        schema_version, row_count, byte_count, content_hash, ended_at
    ) OVERRIDING SYSTEM VALUE
    SELECT
        CASE WHEN EXISTS (SELECT FROM export_runs WHERE run_id = %(run_id)s)
            THEN nextval(pg_get_serial_sequence('export_runs', 'run_id')) ELSE %(run_id)s END,
        %(name)s, %(start)s, %(end)s, 'published', 'its manifest', %(prefix)s, %(snapshot_at)s,
        %(schema_version)s, %(row_count)s, %(byte_count)s, %(content_hash)s, clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM known)
    RETURNING run_id
)
SELECT run_id FROM known UNION ALL SELECT run_id FROM new
