-- What the audits of `events` cover, by window.
SELECT toUnixTimestamp(window_start) AS window_start, covers_until
FROM quality_audits FINAL
WHERE window_kind = {kind:String} AND dataset = 'events' AND window_start >= {since:DateTime('UTC')}
