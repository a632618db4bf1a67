-- The topics that are loaded.
SELECT topic FROM data_sources ORDER BY source_id
