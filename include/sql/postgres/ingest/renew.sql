-- Prolong the lease. Tell whether a later plan's worker waits for any of the partitions, and whether
-- a worker of the same plan let go of its own without being asked to.
WITH mine AS (
    UPDATE ingest_positions
    SET lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    WHERE source_id = %(source_id)s AND topic = %(topic)s AND owner = %(owner)s
    RETURNING lease_until, planned_at, successor_planned_at
)
SELECT
    (SELECT count(*) FROM mine) AS held,
    (SELECT min(lease_until) FROM mine) AS lease_until,
    EXISTS (SELECT FROM mine WHERE successor_planned_at > planned_at) AS is_wanted,
    EXISTS (
        SELECT FROM ingest_positions
        WHERE source_id = %(source_id)s AND topic = %(topic)s AND owner = ''
            AND planned_at = (SELECT max(planned_at) FROM mine)
            AND successor_planned_at <= planned_at
    ) AS is_deserted
