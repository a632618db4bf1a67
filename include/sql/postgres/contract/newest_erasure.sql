-- Tells whether anybody was ordered to be erased since one looked last.
SELECT max(requested_at) AS newest FROM erasures
