-- A field of an event type is known, with this type of value.
INSERT INTO event_fields (event_type, field, value_type)
VALUES (%(event_type)s, %(field)s, %(value_type)s)
ON CONFLICT DO NOTHING
