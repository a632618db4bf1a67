-- The active definitions, or the one that is named.
SELECT *
FROM export_definitions
WHERE CASE WHEN %(name)s::text IS NULL THEN is_active ELSE name = %(name)s END
ORDER BY name
