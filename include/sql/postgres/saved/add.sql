-- Save something, unless its owner has one of its kind and name.
INSERT INTO saved_objects (kind, name, description, owner, sharing, content, updated_by)
VALUES (
    %(kind)s, %(name)s, %(description)s, %(owner)s, %(sharing)s, %(content)s, %(owner)s
)
ON CONFLICT (owner, kind, name) DO NOTHING
RETURNING object_id
