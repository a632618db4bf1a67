-- Which incarnation of its name the topic with an id is; none if it was never planned for.
SELECT max(topic_incarnation) AS incarnation
FROM ingest_positions
WHERE topic = %(topic)s AND topic_id = %(topic_id)s
