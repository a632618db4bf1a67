-- A micro-batch has no more rows than an erasure leaves of it. One that was counted before, by an
-- erasure that begins again or that a restored warehouse needs once more, is not counted twice.
UPDATE ingest_batches
SET
    message_count = CASE
        WHEN %(raw_gone)s > 0 THEN least(message_count, %(raw_left)s) ELSE message_count
    END,
    event_count = CASE
        WHEN %(events_gone)s > 0 THEN least(event_count, %(events_left)s) ELSE event_count
    END,
    rejected_count = CASE
        WHEN %(rejected_gone)s > 0 THEN least(rejected_count, %(rejected_left)s)
        ELSE rejected_count
    END
WHERE batch_id = %(batch)s AND state = 'loaded'
