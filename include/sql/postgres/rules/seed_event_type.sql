-- An event type that is known from the start; what someone made of it since stays.
INSERT INTO event_types (event_type, description)
VALUES (%(event_type)s, %(description)s)
ON CONFLICT DO NOTHING
