-- Partitions whose offsets mean other messages since an incarnation of the topic.
SELECT DISTINCT partition FROM ingest_incidents
WHERE source_id = %(source_id)s AND topic = %(topic)s AND topic_incarnation > %(incarnation)s
    AND kind IN ('topic_recreated', 'topic_truncated')
