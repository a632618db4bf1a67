-- One thing that was saved.
SELECT
    object_id, kind, name, description, owner, sharing, content, version, created_at, updated_at,
    updated_by
FROM saved_objects
WHERE object_id = %(object_id)s
