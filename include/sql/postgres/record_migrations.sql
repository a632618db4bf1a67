-- Where every migration that was applied is recorded, with the hash of its file. Made before the
-- first one, so that no migration can be without.
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    content_hash text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
