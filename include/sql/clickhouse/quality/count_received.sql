-- How many events Kafka got in an hour.
SELECT count()
FROM events
WHERE
    received_at >= {start:DateTime64(3, 'UTC')}
    AND received_at < {end:DateTime64(3, 'UTC')}
