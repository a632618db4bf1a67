-- How often each rule hit in the last day.
SELECT rule, sum(hits) AS hits FROM rule_hits FINAL
WHERE window_start >= toDateTime(now() - INTERVAL 24 HOUR)
GROUP BY rule
