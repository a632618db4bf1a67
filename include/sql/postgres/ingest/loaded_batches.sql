-- Loaded batches, newest first: what the warehouse should hold of each.
SELECT batch_id, claimed_at, message_count, event_count, rejected_count
FROM ingest_batches
WHERE source_id = %(source_id)s AND state = 'loaded' AND batch_id < %(before)s
    AND claimed_at > clock_timestamp() - make_interval(days => %(days)s)
ORDER BY batch_id DESC
LIMIT %(limit)s
