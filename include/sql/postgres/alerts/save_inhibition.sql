-- Add an inhibition, or change it.
INSERT INTO alert_inhibitions (name, source, target, equal)
VALUES (%(name)s, %(source)s, %(target)s, %(equal)s)
ON CONFLICT (name) DO UPDATE SET
    source = excluded.source, target = excluded.target, equal = excluded.equal
