-- Who was to be erased, and from what moment back: the newest order of each person.
SELECT user_id, max(requested_at) AS until FROM erasures GROUP BY user_id ORDER BY user_id
