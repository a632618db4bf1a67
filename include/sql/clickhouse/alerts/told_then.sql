-- What a minute was judged to be when it was judged, by status.
SELECT status, count() AS series, max(recorded_at) AS judged_at, any(detail) AS detail
FROM alert_evaluations FINAL
WHERE rule_name = {name:String} AND evaluated_at = {minute:DateTime('UTC')}
GROUP BY status
ORDER BY status
