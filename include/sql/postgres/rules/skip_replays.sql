-- Numbers up to the last under which Kafka keeps how far a replay came are not given again.
SELECT setval(
    pg_get_serial_sequence('replays', 'replay_id'),
    greatest(
        %(last)s, (SELECT coalesce(max(replay_id), 1) FROM replays),
        (SELECT coalesce(last_value, 1) FROM pg_sequences WHERE schemaname = 'public'
            AND sequencename = 'replays_replay_id_seq')
    )
)
