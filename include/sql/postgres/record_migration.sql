-- Record a migration with the hash of its file, as it was applied.
INSERT INTO schema_migrations (name, content_hash)
VALUES (%(name)s, %(content_hash)s)
ON CONFLICT (name) DO NOTHING
