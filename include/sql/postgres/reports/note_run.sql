-- Note how far a run has come: made, told to somebody, failed, or done.
UPDATE report_runs SET
    object_key = coalesce(%(object_key)s, object_key),
    made_at = CASE WHEN %(object_key)s::text IS NULL THEN made_at ELSE clock_timestamp() END,
    receipts = receipts || %(receipts)s,
    last_error = %(error)s,
    sent_at = CASE WHEN %(is_done)s THEN clock_timestamp() END
WHERE run_id = %(run_id)s
