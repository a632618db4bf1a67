-- The hash of a user's password, if they may sign in with one.
SELECT hash FROM user_passwords JOIN users USING (name) WHERE name = %(name)s AND is_active
