SELECT reason, count() AS messages
FROM rejected_events
GROUP BY reason
ORDER BY messages DESC
