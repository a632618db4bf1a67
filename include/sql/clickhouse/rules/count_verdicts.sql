SELECT if(empty(failures), '', splitByChar('|', failures[1])[1]) AS reason, count() AS messages
FROM (
    {{ statement }}
)
GROUP BY reason
