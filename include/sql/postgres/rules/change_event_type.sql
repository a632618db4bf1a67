-- Change what is said of an event type, or whether its events pass; null leaves a column as it is.
UPDATE event_types SET
    description = coalesce(%(description)s, description),
    owner = coalesce(%(owner)s, owner),
    is_active = coalesce(%(is_active)s, is_active)
WHERE event_type = %(event_type)s
