-- How many messages became events, and how many were rejected.
SELECT
    (SELECT count() FROM events) AS loaded,
    (SELECT count() FROM rejected_events) AS rejected
