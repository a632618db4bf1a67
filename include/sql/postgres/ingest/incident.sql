{# Note that something was lost or found wrong. #}
INSERT INTO ingest_incidents (
    source_id, kind, topic, topic_incarnation, partition, first_offset, next_offset, detail
) VALUES (
    %(source_id)s, %(kind)s, %(topic)s, %(incarnation)s, %(partition)s,
    %(first_offset)s, %(next_offset)s, %(detail)s
)
