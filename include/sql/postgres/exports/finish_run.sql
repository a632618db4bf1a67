{# End a run of an export; what it replaces is superseded. #}
WITH older AS (
    UPDATE export_runs
    SET state = 'superseded', ended_at = clock_timestamp()
    WHERE
        name = %(name)s AND window_start = %(start)s AND window_end = %(end)s
        AND state = 'published' AND run_id <> %(run_id)s
)
UPDATE export_runs
SET
    state = 'published', snapshot_at = %(snapshot_at)s,
    schema_version = %(schema_version)s, row_count = %(row_count)s, byte_count = %(byte_count)s,
    content_hash = %(content_hash)s, ended_at = clock_timestamp()
WHERE run_id = %(run_id)s
