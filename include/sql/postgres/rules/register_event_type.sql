-- An event type is known, and active again if it was not.
INSERT INTO event_types (event_type, description)
VALUES (%(event_type)s, %(description)s)
ON CONFLICT (event_type) DO UPDATE SET is_active = true
