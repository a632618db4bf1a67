-- The databases, and the record of migrations: what has to be there before the first of them.
CREATE DATABASE IF NOT EXISTS {{ database }} {{ on_cluster }}
;
CREATE DATABASE IF NOT EXISTS analytics {{ on_cluster }}
;
CREATE TABLE IF NOT EXISTS {{ database }}.schema_migrations {{ on_cluster }}
(
    name LowCardinality(String) COMMENT 'File name of the migration, without .sql',
    applied_at DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = {{ engine('ReplacingMergeTree') }}
ORDER BY name
COMMENT 'Migrations of the base tables that were applied here'
;
ALTER TABLE {{ database }}.schema_migrations {{ on_cluster }}
    ADD COLUMN IF NOT EXISTS content_hash String COMMENT 'SHA-256 of the file as it was applied'
