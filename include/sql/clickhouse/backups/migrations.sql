SELECT name FROM {{ database }}.schema_migrations ORDER BY name
