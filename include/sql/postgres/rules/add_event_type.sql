-- Register an event type that is not known.
INSERT INTO event_types (event_type, description, owner)
VALUES (%(event_type)s, %(description)s, %(owner)s)
