{# Condition: the message is one of those that an erasure takes. #}
(topic, topic_incarnation, partition, offset) IN (
    SELECT topic, topic_incarnation, partition, offset
    FROM {{ positions }} WHERE erasure_id = {erasure:UInt64}
)
