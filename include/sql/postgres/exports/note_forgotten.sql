-- Files that no run is known of expire like those of a run that was replaced.
INSERT INTO export_runs (
    name, window_start, window_end, state, reason, requested_by, prefix, ended_at
)
VALUES (
    '', 'epoch', 'epoch'::timestamptz + interval '1 hour', 'superseded',
    'no run is known that wrote it', 'its files', %(prefix)s, clock_timestamp()
)
