{# When Kafka got the first of the events that were ingested since a moment. #}
SELECT toUnixTimestamp64Milli(min(received_at)) AS received_at, count() AS events
FROM {{ base }}.events
WHERE ingested_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
