-- Days that were rebuilt, and when that was last.
SELECT day, max(rebuilt_at) AS last_rebuilt_at
FROM {{ database }}.rebuilt_days
WHERE day BETWEEN toDate({start:DateTime64(3,'UTC')}) AND toDate({end:DateTime64(3,'UTC')})
GROUP BY day
