-- How a user sees personal data in exports on demand.
INSERT INTO export_roles
VALUES (%s, %s)
ON CONFLICT (user_name) DO UPDATE SET personal_data = excluded.personal_data
