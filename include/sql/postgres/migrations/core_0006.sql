-- A view may have been taken out of the path of ingest for an error that can pass by itself, as want
-- of memory: it is brought back without anybody's doing, as soon as it can be.
ALTER TABLE withdrawn_views ADD COLUMN may_pass boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN withdrawn_views.may_pass IS 'Whether the same statement may do later; then every build tries';
