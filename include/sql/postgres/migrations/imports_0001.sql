-- Which files were sent to which topic, and how far: importing one twice counts once, and an import
-- that was cut off goes on where it stopped.
CREATE TABLE file_imports (
    digest text NOT NULL,
    topic text NOT NULL,
    file_name text NOT NULL,
    mapping jsonb NOT NULL,
    rows_confirmed bigint NOT NULL DEFAULT 0,
    rows_sent bigint NOT NULL DEFAULT 0,
    bad_rows bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (digest, topic)
);
COMMENT ON COLUMN file_imports.digest IS 'BLAKE2b of the file''s bytes: its name does not matter';
COMMENT ON COLUMN file_imports.rows_confirmed IS 'Rows up to here were sent and acknowledged, or were bad';
