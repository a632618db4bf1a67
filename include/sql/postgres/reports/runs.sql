-- The last times that a report was made, the newest first.
SELECT run_id, due, requested_by, begun_at, made_at, sent_at, last_error, object_key, receipts
FROM report_runs
WHERE report = %(report)s
ORDER BY run_id DESC
LIMIT 50
