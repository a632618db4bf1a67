-- Add a source. A number of the 255 is used up by a row only, not by a conflict.
INSERT INTO data_sources (source_id, description, topic, dead_letter_topic, owner)
SELECT %(source_id)s, %(description)s, %(topic)s, %(dead_letter_topic)s, %(owner)s
WHERE NOT EXISTS (
    SELECT FROM data_sources WHERE source_id = %(source_id)s OR topic = %(topic)s
)
RETURNING source_id
