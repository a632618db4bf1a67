-- A partition that its topic has no more.
DELETE FROM ingest_positions
WHERE source_id = %(source_id)s AND topic = %(topic)s AND partition = %(partition)s
