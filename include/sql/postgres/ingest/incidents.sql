{# The incidents of the last days. #}
SELECT occurred_at, source_id, kind, topic, topic_incarnation, partition, first_offset, next_offset,
    detail
FROM ingest_incidents
WHERE occurred_at > clock_timestamp() - make_interval(days => %(days)s)
ORDER BY incident_id DESC
LIMIT %(limit)s
