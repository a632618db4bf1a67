-- The slot for which PostgreSQL keeps its log from now on.
SELECT pg_create_physical_replication_slot(%(slot)s, immediately_reserve => true)
WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = %(slot)s)
