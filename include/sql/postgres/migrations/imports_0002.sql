-- Progress belongs to a file, the way in which it is read and a topic together, and an import has a
-- number that its messages carry, so that what became of them can be asked.
ALTER TABLE file_imports
    ADD COLUMN import_id bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN reading text NOT NULL DEFAULT '',
    ADD COLUMN turn integer NOT NULL DEFAULT 1,
    ADD COLUMN known_rows bigint NOT NULL DEFAULT 0,
    ADD COLUMN sending_at timestamptz;
UPDATE file_imports SET sending_at = started_at WHERE rows_sent > 0 OR finished_at IS NULL;
ALTER TABLE file_imports DROP CONSTRAINT file_imports_pkey;
ALTER TABLE file_imports ADD PRIMARY KEY (digest, topic, reading);
COMMENT ON COLUMN file_imports.reading
IS 'Digest of the mapping; empty for imports whose event ids came from the file''s bytes';
COMMENT ON COLUMN file_imports.turn IS 'How often the file was sent from its first row on';
COMMENT ON COLUMN file_imports.known_rows IS 'Rows that were not sent, since they were there';
COMMENT ON COLUMN file_imports.sending_at IS 'When its first message was about to go; null if none was';
