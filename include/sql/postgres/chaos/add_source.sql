-- The source of the topic that is made again and again.
INSERT INTO data_sources (source_id, description, topic, dead_letter_topic, target_table)
VALUES (%(name)s, 'Made again and again', %(name)s, %(dead_letters)s, %(name)s)
ON CONFLICT DO NOTHING
