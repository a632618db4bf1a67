-- Ask whoever holds the partitions under an earlier plan to hand them over; tell what a later plan did.
WITH asked AS (
    UPDATE ingest_positions
    SET successor_planned_at = %(planned_at)s
    WHERE source_id = %(source_id)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
        AND planned_at < %(planned_at)s AND successor_planned_at < %(planned_at)s
)
SELECT
    coalesce(bool_or(
        successor_planned_at > %(planned_at)s
        OR (planned_at > %(planned_at)s AND owner <> '' AND lease_until > clock_timestamp())
    ), false) AS is_superseded,
    coalesce(bool_or(planned_at > %(planned_at)s), false) AS is_outdated
FROM ingest_positions
WHERE source_id = %(source_id)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
