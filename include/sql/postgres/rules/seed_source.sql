-- Add the default source unless it is there. An insert that conflicts would use up one of the 255
-- numbers of sources each time.
INSERT INTO data_sources (source_id, description, topic, dead_letter_topic)
SELECT 'events', 'Product events', %(topic)s, %(dead_letter_topic)s
WHERE NOT EXISTS (
    SELECT FROM data_sources WHERE source_id = 'events' OR topic = %(topic)s
)
