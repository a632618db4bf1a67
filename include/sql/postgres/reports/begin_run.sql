-- Begin to make a report for a moment, or go on with it.
INSERT INTO report_runs (report, due, requested_by)
VALUES (%(report)s, %(due)s, %(requested_by)s)
ON CONFLICT (report, due) DO UPDATE SET last_error = ''
RETURNING run_id, receipts
