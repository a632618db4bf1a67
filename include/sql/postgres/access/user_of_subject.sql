-- The user whom an OpenID provider knows by a subject.
SELECT name, role, sources, datasets, is_active
FROM users
WHERE issuer = %(issuer)s AND subject = %(subject)s
FOR UPDATE
