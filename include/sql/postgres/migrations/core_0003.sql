ALTER TABLE ingest_incidents DROP CONSTRAINT ingest_incidents_kind_check;
ALTER TABLE ingest_incidents ADD CONSTRAINT ingest_incidents_kind_check CHECK (kind IN (
    'data_loss', 'topic_recreated', 'topic_truncated', 'partitions_added',
    'warehouse_ahead', 'warehouse_behind', 'rollups_unproven', 'view_withdrawn', 'undeliverable'
));
