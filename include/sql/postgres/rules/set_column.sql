-- Set one column of a rule, as a new version of it.
UPDATE processing_rules
SET {{ column }} = %(value)s, version = version + 1, updated_at = now()
WHERE name = %(name)s AND {{ column }} IS DISTINCT FROM %(value)s
