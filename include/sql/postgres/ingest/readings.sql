-- Which micro-batch read each of some offsets last, where that is loaded, and how many messages it had.
-- Not of offsets that an incident says were lost.
SELECT * FROM (
    SELECT DISTINCT ON (o.place)
        o.place AS "offset", r.batch_id, b.state, b.claimed_at, b.message_count
    FROM unnest(%(offsets)s::bigint[]) AS o (place)
    JOIN ingest_ranges AS r
        ON r.source_id = %(source_id)s AND r.topic = %(topic)s AND r.partition = %(partition)s
        AND r.topic_incarnation >= %(since)s
        AND int8range(r.first_offset, r.next_offset) @> o.place
    JOIN ingest_batches AS b USING (batch_id)
    WHERE NOT EXISTS (
        SELECT FROM ingest_incidents AS i
        WHERE i.source_id = %(source_id)s AND i.topic = %(topic)s AND i.partition = %(partition)s
            AND i.kind = 'data_loss' AND i.topic_incarnation >= %(since)s
            AND o.place >= i.first_offset AND o.place < i.next_offset
    )
    ORDER BY o.place, r.topic_incarnation DESC
) AS last
WHERE state = 'loaded' AND claimed_at > clock_timestamp() - make_interval(days => %(days)s)
