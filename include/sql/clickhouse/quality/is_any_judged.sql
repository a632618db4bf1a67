-- Whether any message was judged before a moment: before the first one, silence is no finding.
SELECT
    (
        SELECT count() FROM (
            SELECT 1 FROM events WHERE ingested_at < {before:DateTime64(3, 'UTC')} LIMIT 1
        )
    ) + (
        SELECT count() FROM (
            SELECT 1 FROM rejected_events WHERE rejected_at < {before:DateTime64(3, 'UTC')} LIMIT 1
        )
    ) > 0
