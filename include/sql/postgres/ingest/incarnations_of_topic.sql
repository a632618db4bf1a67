-- Since which incarnation each partition is of the topic that there is now, where it was recreated.
SELECT partition, max(topic_incarnation) AS topic_incarnation FROM ingest_incidents
WHERE source_id = %(source_id)s AND topic = %(topic)s AND kind = 'topic_recreated'
GROUP BY partition
