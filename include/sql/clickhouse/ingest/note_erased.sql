{# Remember that these offsets are missing on purpose. #}
INSERT INTO erased_positions (topic, topic_incarnation, partition, offset, erasure_id)
SELECT topic, topic_incarnation, partition, offset, 0 FROM erased
