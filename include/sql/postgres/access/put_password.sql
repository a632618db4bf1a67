-- Keep the hash of a user's password, and since when they have it.
WITH kept AS (
    INSERT INTO user_passwords (name, hash) VALUES (%(name)s, %(hash)s)
    ON CONFLICT (name) DO UPDATE SET hash = excluded.hash
    RETURNING name
)
UPDATE users SET password_changed_at = clock_timestamp()
FROM kept WHERE users.name = kept.name
