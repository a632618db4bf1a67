-- How many active admins there are beside one; none of them changes before the transaction ends.
SELECT count(*) AS number
FROM (
    SELECT 1 FROM users
    WHERE role = 'admin' AND is_active AND name <> %(name)s
    FOR UPDATE
) AS others
