-- Copies, arrived meanwhile, of events that the rebuild brings back.
SELECT count() FROM {{ arrived }}
WHERE event_id IN (SELECT event_id FROM fresh)
