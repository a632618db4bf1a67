-- The moment of a plan; later than that of any other, whatever the clock does.
SELECT greatest(clock_timestamp(), max(planned_at) + interval '1 microsecond') AS planned_at
FROM ingest_positions
