-- Numbers up to the last whose files lie in the bucket are not given again.
SELECT setval(
    pg_get_serial_sequence('export_runs', 'run_id'),
    greatest(
        %(last)s, (SELECT coalesce(max(run_id), 1) FROM export_runs),
        (SELECT last_value FROM pg_sequences WHERE schemaname = 'public'
            AND sequencename = 'export_runs_run_id_seq')
    )
)
