-- What PostgreSQL would forget of what others were told or given since a moment, in sentences.
SELECT said
FROM (
    SELECT
        1 AS part, name AS place,
        format(
            'exports: %%s windows of %%s published since; the catalogue learns them from the manifests',
            count(*), name
        ) AS said
    FROM export_runs
    WHERE state = 'published' AND ended_at > %(since)s
    GROUP BY name
    UNION ALL
    SELECT
        2, to_char(replay_id, '000000000000'),
        CASE
            WHEN created_at <= %(since)s
                THEN format('replay %%s (%%s): goes on from where Kafka knows it to be', replay_id, state)
            WHEN state = 'previewed'
                THEN format('replay %%s waits for approval: forgotten; preview it again', replay_id)
            ELSE format(
                'replay %%s (%%s): forgotten; what it sent is in Kafka and judged again, and nothing else '
                'is sent: preview the rest again', replay_id, state
            )
        END
    FROM replays
    WHERE created_at > %(since)s OR state <> 'settled'
    UNION ALL
    SELECT
        3, route,
        format(
            'incident %%s on route %%s opened since: stays open until its end is told',
            labels, route
        )
    FROM alert_groups
    WHERE opened_at > %(since)s
    UNION ALL
    SELECT
        4, source_id,
        format(
            'dead letters of %%s: %%s messages rejected since; Kafka knows how far they were relayed, '
            'so none goes there twice', source_id, sum(rejected_count)
        )
    FROM ingest_batches
    WHERE loaded_at > %(since)s
    GROUP BY source_id
    HAVING sum(rejected_count) > 0
) AS forgotten
ORDER BY part, place
