{# Which days of a range were rebuilt, and when last. #}
SELECT day, max(rebuilt_at) AS rebuilt_at
FROM {{ database }}.rebuilt_days
WHERE day BETWEEN toDate({start:DateTime64(3,'UTC')}) AND toDate({end:DateTime64(3,'UTC')})
GROUP BY day
