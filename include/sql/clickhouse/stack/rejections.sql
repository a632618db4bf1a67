-- How many messages were rejected, by reason.
SELECT reason, count() AS messages
FROM rejected_events
GROUP BY reason
ORDER BY messages DESC
