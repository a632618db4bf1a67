-- Blocks that came after a batch: while they are fewer than the tables remember, a repeat with the
-- batch's token is swallowed.
SELECT uniqExact(batch_id, toDate(event_time)) FROM {{ target }}
WHERE ingested_at >= {claimed_at:DateTime64(3, 'UTC')}
