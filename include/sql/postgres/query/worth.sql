-- What tells, beside positions, whether numbers are complete: the active sources, when the newest
-- micro-batch was claimed, and when a window was last judged.
SELECT
    (
        SELECT coalesce(json_agg(json_build_object(
            'topic', topic, 'created_at', extract(epoch FROM created_at)
        )), '[]')
        FROM data_sources WHERE is_active
    ) AS sources,
    (
        SELECT extract(epoch FROM max(claimed_at))::float
        FROM (
            SELECT claimed_at FROM ingest_batches
            WHERE state = 'claimed' OR event_count + rejected_count > 0
            ORDER BY batch_id DESC LIMIT 50
        ) AS newest
    ) AS claimed_at,
    (SELECT max(checked_at) FROM published_windows) AS checked_at
