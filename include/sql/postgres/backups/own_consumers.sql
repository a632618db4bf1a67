-- Have every source's consumer commit offsets of its own.
UPDATE data_sources
SET config = jsonb_set(config, '{consumer}', coalesce(config -> 'consumer', '{}') || %s)
