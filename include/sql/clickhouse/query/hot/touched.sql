-- Which of the people that somebody asks about have rows in parts that came, and how many of the parts
-- are still there to be read.
SELECT groupUniqArrayIf(user_id, user_id IN {user_ids:Array(UInt64)}), uniqExact(_part)
FROM {{ table }}
WHERE _part IN {parts:Array(String)}
