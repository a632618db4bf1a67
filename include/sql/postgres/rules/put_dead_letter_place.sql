{# Note how far a partition was relayed. #}
UPDATE dead_letter_places SET next_offset = %(next_offset)s
WHERE source_id = %(source_id)s AND topic = %(topic)s
    AND topic_incarnation = %(topic_incarnation)s AND partition = %(partition)s
    AND next_offset < %(next_offset)s
