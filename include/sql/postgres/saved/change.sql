-- Change what was saved; null leaves a column as it is.
UPDATE saved_objects SET
    name = coalesce(%(name)s, name),
    description = coalesce(%(description)s, description),
    sharing = coalesce(%(sharing)s, sharing),
    content = coalesce(%(content)s, content),
    version = version + 1,
    updated_at = clock_timestamp(),
    updated_by = %(updated_by)s
WHERE object_id = %(object_id)s
