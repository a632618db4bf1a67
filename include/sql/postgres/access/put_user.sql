-- Give a user other rights.
UPDATE users
SET role = %(role)s, sources = %(sources)s, datasets = %(datasets)s, is_active = %(is_active)s
WHERE name = %(name)s
