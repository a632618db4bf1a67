{# What the gate says of each message; one that its own statement fails at is found by the caller. #}
SELECT offset, event_id, failures
FROM (
{{ statement }}
)
ORDER BY offset
