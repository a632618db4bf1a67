{# Begin to relay a partition. #}
INSERT INTO dead_letter_places (source_id, topic, topic_incarnation, partition, superseded)
VALUES (%(source_id)s, %(topic)s, %(topic_incarnation)s, %(partition)s, %(superseded)s)
ON CONFLICT DO NOTHING
