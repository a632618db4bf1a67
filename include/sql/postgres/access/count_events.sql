-- Add what a worker took under a name since it last said so (0 to only ask), and return the day of
-- UTC with all that was taken under the name on it, by whomever.
INSERT INTO ingest_key_usage AS known (name, day, event_count)
VALUES (%(name)s, (clock_timestamp() AT TIME ZONE 'UTC')::date, %(count)s)
ON CONFLICT (name, day) DO UPDATE SET
    event_count = known.event_count + excluded.event_count,
    used_at = CASE WHEN excluded.event_count > 0 THEN clock_timestamp() ELSE known.used_at END
RETURNING name, day, event_count
