-- Forget when reports were made long ago; their pages are gone.
DELETE FROM report_runs WHERE begun_at < %(before)s
