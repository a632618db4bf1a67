-- Where a topic's events go, and the key of their time in a message.
SELECT target_table, coalesce(config -> 'fields' ->> 'timestamp', 'timestamp') AS timestamp_field
FROM data_sources
WHERE topic = %(topic)s
