-- Change what is said of a source, or whether its events are loaded; null leaves a column as it is.
UPDATE data_sources SET
    description = coalesce(%(description)s, description),
    owner = coalesce(%(owner)s, owner),
    is_active = coalesce(%(is_active)s, is_active)
WHERE source_id = %(source_id)s
