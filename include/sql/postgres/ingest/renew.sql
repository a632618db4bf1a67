-- Prolong the lease, and tell whether another worker of the source has handed over early.
WITH mine AS (
    UPDATE ingest_positions
    SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    WHERE source_id = %(source_id)s AND topic = %(topic)s AND owner = %(owner)s
    RETURNING lease_until
)
SELECT
    (SELECT count(*) FROM mine) AS held,
    (SELECT min(lease_until) FROM mine) AS lease_until,
    EXISTS (
        SELECT FROM ingest_positions
        WHERE source_id = %(source_id)s AND topic = %(topic)s AND owner = ''
    ) AS has_released
