{# Events that Kafka got after the hour in which they happened had closed, of those that were
   ingested in a span of time. #}
SELECT toUnixTimestamp(toStartOfHour(event_time, 'UTC')) AS hour, count() AS events
FROM {{ base }}.events
WHERE
    ingested_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
    AND ingested_at < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
    AND toUnixTimestamp64Milli(received_at) >= (hour + {closes_after:UInt32}) * 1000
GROUP BY hour
ORDER BY hour
