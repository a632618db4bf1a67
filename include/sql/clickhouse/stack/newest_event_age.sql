-- Seconds since the newest event of the last hour was received.
SELECT (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(received_at))) / 1000
FROM events
WHERE ingested_at > now64(3) - INTERVAL 1 HOUR
