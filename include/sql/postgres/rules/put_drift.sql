{# Note a field that drifts. #}
INSERT INTO schema_drifts (
    kind, event_type, field, value_type, occurrences, examples, first_seen_at, last_seen_at
)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (kind, event_type, field, value_type) DO UPDATE SET
    -- Looks overlap, so the count is of the fullest look and not a sum.
    occurrences = greatest(schema_drifts.occurrences, EXCLUDED.occurrences),
    examples = EXCLUDED.examples,
    last_seen_at = EXCLUDED.last_seen_at
RETURNING xmax = 0 AS is_new
