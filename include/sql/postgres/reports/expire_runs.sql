-- Forget when reports were made long ago; the objects of their pages are to be deleted.
DELETE FROM report_runs WHERE begun_at < %(before)s RETURNING object_key
