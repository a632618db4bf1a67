-- What was applied here, with the hash that its file had; empty where none was kept then.
SELECT name, max(content_hash) FROM schema_migrations GROUP BY name
