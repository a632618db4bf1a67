-- What the gate would say of a file's events, as they would be sent now.
SELECT offset, failures[1] AS failure
FROM (
    {{ statement }}
)
WHERE notEmpty(failures)
ORDER BY offset
