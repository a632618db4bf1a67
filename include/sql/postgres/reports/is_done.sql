-- Whether a report was made for a moment and sent to all.
SELECT count(*) AS done FROM report_runs
WHERE report = %(report)s AND due = %(due)s AND sent_at IS NOT NULL
