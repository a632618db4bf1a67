-- An event type that nobody has registered or retired becomes known.
INSERT INTO event_types (event_type, description, owner, is_active)
VALUES (%(event_type)s, %(description)s, 'unreviewed', %(is_active)s)
ON CONFLICT (event_type) DO NOTHING
