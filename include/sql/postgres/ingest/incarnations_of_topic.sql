-- Since which incarnation each partition is of the topic that there is now, where it was recreated; and
-- from which offset on it was read again under later ones, where it was cut.
SELECT
    partition,
    coalesce(max(topic_incarnation) FILTER (WHERE kind = 'topic_recreated'), 0) AS since,
    coalesce(array_agg(topic_incarnation ORDER BY incident_id) FILTER (WHERE kind = 'topic_truncated'), '{}')
        AS cuts,
    coalesce(array_agg(next_offset ORDER BY incident_id) FILTER (WHERE kind = 'topic_truncated'), '{}')
        AS starts
FROM ingest_incidents
WHERE source_id = %(source_id)s AND topic = %(topic)s
    AND kind IN ('topic_recreated', 'topic_truncated')
GROUP BY partition
