-- A window that passed is withheld all the same while what it is made from is withheld, or nobody can
-- judge that.
INSERT INTO published_windows (dataset, window_start, window_end, status, reason)
SELECT
    %(dataset)s, %(start)s, %(end)s,
    CASE WHEN %(reason)s = '' AND source.names IS NULL THEN 'published' ELSE 'withheld' END,
    CASE
        WHEN %(reason)s = '' AND source.names IS NOT NULL
            THEN 'made from withheld ' || source.names
        ELSE %(reason)s
    END
FROM (
    SELECT string_agg(dataset, ', ') AS names
    FROM (
        SELECT dataset
        FROM published_windows
        WHERE
            dataset = ANY(%(made_from)s)
            AND status = 'withheld'
            AND window_start < %(end)s
            AND window_end > %(start)s
        UNION
        SELECT unnest(%(unread)s::text[])
    ) AS lacking
) AS source
ON CONFLICT (dataset, window_start, window_end) DO UPDATE
SET status = EXCLUDED.status, reason = EXCLUDED.reason, checked_at = now()
