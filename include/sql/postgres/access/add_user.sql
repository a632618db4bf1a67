-- Add a user; nothing is added where the name is taken.
INSERT INTO users (name, role, sources, datasets, issuer, subject)
VALUES (%(name)s, %(role)s, %(sources)s, %(datasets)s, %(issuer)s, %(subject)s)
ON CONFLICT (name) DO NOTHING
