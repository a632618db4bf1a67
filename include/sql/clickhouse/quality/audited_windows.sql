{# Windows that were audited. #}
SELECT dataset, toUnixTimestamp(window_start) AS window_start
FROM quality_audits FINAL
WHERE window_kind = {kind:String} AND window_start >= {since:DateTime('UTC')}
