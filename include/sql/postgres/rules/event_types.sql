-- Every event type.
SELECT event_type, description, owner, is_active, created_at FROM event_types ORDER BY event_type
