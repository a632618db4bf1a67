-- Who answers for what a source sends.
ALTER TABLE data_sources ADD COLUMN owner text NOT NULL DEFAULT 'data-engineering';
