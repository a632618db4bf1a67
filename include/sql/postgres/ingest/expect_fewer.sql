-- Events of a loaded micro-batch have expired: the warehouse holds so many rows less from now on.
UPDATE ingest_batches SET event_count = greatest(0, event_count - %(expired)s)
WHERE batch_id = %(batch_id)s AND state = 'loaded'
