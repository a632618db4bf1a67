-- Windows of which something could not be checked when they were audited, the newest first.
SELECT dataset, toUnixTimestamp(window_start) AS start
FROM quality_audits FINAL
WHERE
    window_kind = {kind:String}
    AND unchecked > 0
    AND window_start >= {since:DateTime('UTC')}
    AND checked_at < {before:DateTime64(3, 'UTC')}
ORDER BY start DESC, dataset
LIMIT {most:UInt32}
