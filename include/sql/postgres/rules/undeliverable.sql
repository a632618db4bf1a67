{# Note a rejected message that its dead-letter topic does not take. #}
INSERT INTO ingest_incidents (
    source_id, kind, topic, topic_incarnation, partition, first_offset, next_offset, detail
) VALUES (
    %(source_id)s, 'undeliverable', %(topic)s, %(incarnation)s, %(partition)s,
    %(offset)s, %(offset)s + 1, %(detail)s
)
