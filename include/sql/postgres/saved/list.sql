{# What somebody may see, by name, behind a place, one more than asked for. #}
SELECT
    object_id, kind, name, description, owner, sharing, version, created_at, updated_at, updated_by
FROM saved_objects
WHERE (owner = %(name)s OR sharing <> 'private' OR %(is_admin)s)
{% if kind %}
    AND kind = %(kind)s
{% endif %}
{% if owner %}
    AND owner = %(owner)s
{% endif %}
{% if after %}
    AND (name, object_id) > (%(after_name)s, %(after_id)s::uuid)
{% endif %}
ORDER BY name, object_id
LIMIT %(limit)s
