-- Days that were rebuilt since a moment, and when that was last.
SELECT day, max(rebuilt_at) AS last_rebuilt_at
FROM {{ database }}.rebuilt_days
WHERE
    day BETWEEN toDate({start:DateTime64(3,'UTC')}) AND toDate({end:DateTime64(3,'UTC')})
    AND rebuilt_at >= {since:DateTime64(3,'UTC')}
GROUP BY day
