SELECT (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(max(received_at))) / 1000
FROM events
WHERE ingested_at > now() - INTERVAL 1 HOUR
