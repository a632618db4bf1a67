-- What ingest itself reported as lost.
SELECT topic_incarnation, partition, first_offset, next_offset
FROM ingest_incidents
WHERE topic = %(topic)s AND kind = 'data_loss'
