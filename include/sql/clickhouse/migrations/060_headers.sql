-- Names of headers that are not UTF-8 are kept, too; what was kept before reads the same.
ALTER TABLE raw_events {{ on_cluster }} COMMENT COLUMN headers
    'Kafka headers as a JSON array of [name, base64 value or null]; a name that is not UTF-8 has its bytes as a third, in base64; empty if none'
