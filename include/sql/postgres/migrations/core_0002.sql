-- Deduplication tokens carry the identity of materialized views. A repeat that meets another one
-- than its first attempt can't rely on them.
ALTER TABLE ingest_batches ADD COLUMN views text;
COMMENT ON COLUMN ingest_batches.views IS
    'Identity of the materialized views, noted before the first insert of this generation; empty: nothing of it was inserted yet; null: not known';

-- Materialized views that threw and were taken out of the path of ingest, until they are mended.
CREATE TABLE withdrawn_views (
    view text PRIMARY KEY,
    rollups text[] NOT NULL,
    definition text NOT NULL,
    error text NOT NULL,
    batch_id bigint NOT NULL,
    withdrawn_at timestamptz NOT NULL DEFAULT now(),
    tried_release text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN withdrawn_views.view IS 'With its database, as analytics.orders_1h_mv';
COMMENT ON COLUMN withdrawn_views.rollups IS 'Tables that it filled, directly or through one another';
COMMENT ON COLUMN withdrawn_views.tried_release IS 'Release of the dbt project that failed to bring it back';

ALTER TABLE ingest_incidents DROP CONSTRAINT ingest_incidents_kind_check;
ALTER TABLE ingest_incidents ADD CONSTRAINT ingest_incidents_kind_check CHECK (kind IN (
    'data_loss', 'topic_recreated', 'topic_truncated', 'partitions_added',
    'warehouse_ahead', 'warehouse_behind', 'rollups_unproven', 'view_withdrawn'
));
