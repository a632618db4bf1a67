-- The last results, of one rule or of all.
SELECT evaluated_at, rule_name, labels, status, value, detail
FROM alert_evaluations FINAL
WHERE evaluated_at >= {since:DateTime('UTC')}
    AND ({name:String} = '' OR rule_name = {name:String})
ORDER BY evaluated_at DESC, rule_name
LIMIT 500
